//! Prompt lines with the outcome of each (contract, section 2).

use super::{Target, URL, line_for};

/// What is expected of one line.
#[derive(Debug)]
pub enum Want {
    /// Names the attachment.
    Named,
    /// Is recognised, and names something of this kind.
    Refused(Target),
    /// Diagnosed at this column for this reason (a part of it), with the corrected line.
    Near(usize, &'static str),
    /// Diagnosed likewise, delivered with the notice in lenient mode.
    Sure(usize, &'static str),
    /// Diagnosed likewise, without a corrected line.
    Hopeless(usize, &'static str),
    /// Left alone.
    Nothing,
}

use Want::{Hopeless, Named, Near, Nothing, Refused, Sure};

/// Prompt lines with their outcome; `URL` stands for the URL of an attachment.
pub fn lines() -> Vec<(&'static str, Want)> {
    let path = "attachments/01234567-89ab-4cde-8f01-23456789abcd";
    let refused = || Refused(Target::NoAttachment);
    let line = |url: String| -> &'static str { line_for(&url).leak() };
    vec![
        // The documented forms.
        ("ATTACHMENT:\"URL\"", Named),
        ("ATTACHMENT:\"\"URL\"\"", Named),
        (" \t ATTACHMENT:\"URL\"\t ", Named),
        ("ATTACHMENT:\"URL?sig=abc&exp=1#page\"", Named),
        (line(format!("HTTP://127.0.0.1:8080/{path}/other.txt")), Named),
        (line(format!("http://127.0.0.1:8080/v1/{path}/a")), Named),
        (line(format!("http://127.0.0.1:8080/v3/organizations/org-1/{path}/a")), Named),
        (line(format!("http://127.0.0.1:8080/v3beta1/organizations/org-1/{path}/a")), Named),
        (line(format!("https://FILES.example.ORG:443/satchel/{path}/a%20b.csv")), Named),
        (line(format!("http://satchel/{path}/data.csv")), Named),
        (line(format!("https://satchel/{path}/data.csv")), Named),
        (line(format!("http://satchel:80/{path}/übersicht.csv")), Named),
        (line(URL.replace("89ab", "89AB")), Named),
        // Recognised, and refused by who resolves it.
        ("ATTACHMENT:\"https://evil.example/a.csv\"", foreign("evil.example")),
        ("ATTACHMENT:\"\"https://Evil.example:8443/a\"\"", foreign("evil.example:8443")),
        (line(format!("http://127.0.0.1:9090/{path}/a")), foreign("127.0.0.1:9090")),
        (
            line(format!("http://127.0.0.1.evil.example:8080/{path}/a")),
            foreign("127.0.0.1.evil.example:8080"),
        ),
        ("ATTACHMENT:\"http://[::1]/a\"", foreign("[::1]")),
        (line(format!("http://ada:secret@127.0.0.1:8080/{path}/a")), Refused(Target::UserInfo)),
        (line(format!("http://127.0.0.1:8080@evil.example/{path}/a")), Refused(Target::UserInfo)),
        (line(format!("http://@127.0.0.1:8080/{path}/a")), Refused(Target::UserInfo)),
        ("ATTACHMENT:\"http://127.0.0.1:8080/\"", refused()),
        ("ATTACHMENT:\"http://127.0.0.1:8080/v1/sessions/1\"", refused()),
        (line(format!("http://127.0.0.1:8080/{path}")), refused()),
        (line(format!("http://127.0.0.1:8080/{path}/")), refused()),
        (line(format!("http://127.0.0.1:8080/{path}/a/b")), refused()),
        (line(format!("http://127.0.0.1:8080/v2/{path}/a")), refused()),
        (line(format!("https://files.example.org/{path}/a")), refused()),
        (line(URL.replace("-4cde-", "4cde")), refused()),
        ("ATTACHMENT:\"http://127.0.0.1:8080/attachments/0123456789ab4cde8f0123456789abcd/a\"", refused()),
        // One thing wrong, and no doubt what is meant.
        ("ATTACHMENT: \"URL\"", Sure(12, "without a space")),
        ("ATTACHMENT:\t \"URL\"", Sure(12, "without a space")),
        ("ATTACHMENTS:\"URL\"", Sure(11, "singular")),
        ("attachment:\"URL\"", Sure(1, "capitals")),
        ("  Attachment:\"URL\"", Sure(3, "capitals")),
        ("Attachments: \"URL\"", Sure(1, "capitals")),
        ("ATTACHMENT:'URL'", Sure(12, "not '")),
        ("ATTACHMENT:“URL”", Sure(12, "not “")),
        ("ATTACHMENT:„URL“", Sure(12, "not „")),
        ("ATTACHMENT:«URL»", Sure(12, "not «")),
        ("ATTACHMENT:\"URL”", Sure(92, "not ”")),
        ("ATTACHMENT: ''URL''", Sure(12, "without a space")),
        // Diagnosed, and never delivered.
        ("ATTACHMENT:URL", Near(12, "double quotes")),
        ("ATTACHMENT: URL", Near(12, "without a space")),
        ("ATTACHMENT:\"URL", Near(92, "do not match")),
        ("ATTACHMENT:URL\"", Near(12, "double quotes")),
        ("ATTACHMENT:\"URL\"\"", Near(92, "do not match")),
        ("ATTACHMENT:\"\"URL\"", Near(12, "do not match")),
        ("ATTACHMENT:\"\"\"URL\"\"\"", Near(12, "do not match")),
        ("ATTACHMENT:\\\"URL\\\"", Near(12, "escaped")),
        ("ATTACHMENT:&quot;URL&quot;", Near(12, "escaped")),
        ("ATTACHMENT:&#34;URL&#34;", Near(12, "escaped")),
        ("ATTACHMENT :\"URL\"", Near(11, "without a space")),
        ("ATTACHMENT：\"URL\"", Near(11, "not ：")),
        ("ATTACHMENT=\"URL\"", Near(11, "not =")),
        ("ATTACHMENT \"URL\"", Near(11, "without a space")),
        ("ATTACHMENT\"URL\"", Near(11, "colon")),
        ("Please read ATTACHMENT:\"URL\"", Near(1, "text before")),
        ("ATTACHMENT:\"URL\" please", Near(94, "text after")),
        ("ATTACHMENT:\"URL\".", Near(93, "markup")),
        ("ATTACHMENT:\"URL\";", Near(93, "text after")),
        ("ATTACHMENT:\"URL\" ATTACHMENT:\"URL\"", Near(94, "several")),
        ("- ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("  * ATTACHMENT:\"URL\"", Near(3, "markup")),
        ("1. ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("> ATTACHMENT:\"URL\"", Near(1, "markup")),
        ("`ATTACHMENT:\"URL\"`", Near(1, "markup")),
        ("**ATTACHMENT:\"URL\"**", Near(1, "markup")),
        ("**ATTACHMENT:** \"URL\"", Near(1, "markup")),
        ("ATTACHMENT:[data.csv](URL)", Near(12, "double quotes")),
        ("ATTACHMENT:<URL>", Sure(12, "not <")),
        ("ATTACHMENT:`URL`", Sure(12, "not `")),
        ("\u{feff}ATTACHMENT:\"URL\"", Near(1, "U+FEFF")),
        ("ATT\u{200b}ACHMENT:\"URL\"", Near(4, "U+200B")),
        ("ATTACHMENT:\u{a0}\"URL\"", Near(12, "U+00A0")),
        ("ATTACHMENT:\"\u{200b}URL\"", Near(13, "U+200B")),
        ("ATTACHMENT:\"URL\u{200b}\"", Near(92, "U+200B")),
        ("ATTACHMENT:\"URL\"\u{a0}", Near(93, "U+00A0")),
        ("\u{200b} ATTACHMENT: \"URL\"", Near(14, "without a space")),
        ("ATTACHMENT:\" URL \"", Near(13, "blank")),
        ("URL", Near(1, "bare")),
        ("See URL, please.", Near(5, "bare")),
        ("[data](URL)", Near(8, "bare")),
        ("看URL。", Near(2, "bare")),
        ("see the attachment: URL.", Near(21, "bare")),
        ("FILE:\"URL\"", Near(7, "bare")),
        ("{\"attachment\": \"URL\"}", Near(17, "bare")),
        ("https://proxy.example/?u=URL", Near(26, "bare")),
        // Diagnosed, and nothing to offer.
        ("ATTACHMENT:\"{file_url}\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:{file_url}", Hopeless(12, "double quotes")),
        ("ATTACHMENT:\"data.csv\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"ftp://example.org/a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"https://...\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"https://{host}/a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"http:\\\\127.0.0.1:8080\\a\"", Hopeless(13, "absolute")),
        ("ATTACHMENT:\"\"", Hopeless(14, "no URL")),
        ("ATTACHMENT:\"", Hopeless(13, "do not match")),
        ("ATTACHMENT: \"https://evil.example/a\"", Hopeless(12, "its host is evil.example")),
        ("attachment: \"http://127.0.0.1:8080/x\"", Hopeless(1, "not one of an attachment")),
        ("Use the form ATTACHMENT:\"url\" for it", Hopeless(1, "text before")),
        // Ordinary prose and code.
        ("", Nothing),
        ("see the attachment: it has three columns", Nothing),
        ("see the attachment: https://example.org/page", Nothing),
        ("The attachment \"data.csv\" has three columns", Nothing),
        ("Attachment: 'twas brillig and the slithy toves", Nothing),
        ("ATTACHMENTS: none", Nothing),
        ("ATTACHMENT: see below", Nothing),
        ("attachment = load(\"data.csv\")", Nothing),
        ("Content-Disposition: attachment; filename=\"a.csv\"", Nothing),
        ("{\"attachments\": [\"a\"]}", Nothing),
        ("GET /attachments/01234567-89ab-4cde-8f01-23456789abcd/data.csv", Nothing),
        ("https://example.org/attachments/01234567-89ab-4cde-8f01-23456789abcd/a", Nothing),
    ]
}

fn foreign(host: &str) -> Want {
    let host = host.to_owned();
    Refused(Target::Foreign { host })
}
