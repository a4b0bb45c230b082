//! Prompt lines with what is to become of each (contract, section 2).
//!
//! In a line `URL` stands for the URL of an attachment, `BASE` for the address of the service,
//! `HOST` for its host and port, `ID` for the attachment's id, `ORG` for the organisation; `¦` is
//! where a notice is to point, and no part of the line.

/// What is to become of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It names the attachment.
    Delivered,
    /// The call is refused, for a reason with this in it.
    Refused(&'static str),
    /// A notice says this and offers the right line.
    Offered(&'static str),
    /// The same; where near misses are delivered, it is.
    Unmistakable(&'static str),
    /// A notice says this and has nothing to offer.
    Noticed(&'static str),
    /// It is ordinary text.
    Nothing,
}

use Want::{Delivered, Nothing, Noticed, Offered, Refused, Unmistakable};

pub const LINES: &[(&str, Want)] = &[
    // The documented forms.
    (r#"ATTACHMENT:"URL""#, Delivered),
    (r#"ATTACHMENT:""URL"""#, Delivered),
    ("  \tATTACHMENT:\"URL\" \t", Delivered),
    ("ATTACHMENT:\"URL\"\r", Delivered),
    (r#"ATTACHMENT:"HTTP://HOST/attachments/ID/data.csv""#, Delivered),
    (r#"ATTACHMENT:"BASE/attachments/ID/another-name.txt""#, Delivered),
    (r#"ATTACHMENT:"BASE/v1/attachments/ID/data.csv""#, Delivered),
    (r#"ATTACHMENT:"BASE/v3/organizations/ORG/attachments/ID/data.csv""#, Delivered),
    (r#"ATTACHMENT:"BASE/v3beta1/organizations/ORG/attachments/ID/data.csv""#, Delivered),
    (r#"ATTACHMENT:"https://FILES.example.org:443/attachments/ID/data.csv""#, Delivered),
    (r#"ATTACHMENT:"URL?a=b#c""#, Delivered),
    // Recognised, and refused.
    (r#"ATTACHMENT:"https://evil.example/data.csv""#, Refused("its host is `evil.example`")),
    (r#"ATTACHMENT:""https://evil.example:8443/data.csv"""#, Refused("`evil.example:8443`")),
    (r#"ATTACHMENT:"http://127.0.0.1:9/attachments/ID/data.csv""#, Refused("`127.0.0.1:9`")),
    (r#"ATTACHMENT:"http://[::1]/attachments/ID/data.csv""#, Refused("`[::1]`")),
    (r#"ATTACHMENT:"http://169.254.169.254/latest/meta-data""#, Refused("`169.254.169.254`")),
    (r#"ATTACHMENT:"http://ada:secret@HOST/attachments/ID/data.csv""#, Refused("user name or password")),
    (r#"ATTACHMENT:"http://HOST@evil.example/attachments/ID/data.csv""#, Refused("user name or password")),
    (r#"ATTACHMENT:"BASE/""#, Refused("not one of an attachment")),
    (r#"ATTACHMENT:"BASE/v1/sessions/devin-1""#, Refused("not one of an attachment")),
    (r#"ATTACHMENT:"BASE/attachments/ID""#, Refused("not one of an attachment")),
    (r#"ATTACHMENT:"BASE/attachments/ID/a/b""#, Refused("not one of an attachment")),
    (r#"ATTACHMENT:"BASE/v2/attachments/ID/data.csv""#, Refused("not one of an attachment")),
    (
        r#"ATTACHMENT:"BASE/attachments/f47ac10b-58cc-4372-a567-0e02b2c3d479/data.csv""#,
        Refused("there is no attachment with this id"),
    ),
    // One thing wrong, and no doubt what is meant.
    (r#"ATTACHMENT:¦ "URL""#, Unmistakable("without a space")),
    ("ATTACHMENT:¦\t\"URL\"", Unmistakable("without a space")),
    (r#"ATTACHMENT¦S:"URL""#, Unmistakable("singular")),
    (r#"¦attachment:"URL""#, Unmistakable("capitals")),
    (r#"  ¦Attachment:"URL""#, Unmistakable("capitals")),
    (r#"¦Attachments: "URL""#, Unmistakable("capitals")),
    ("ATTACHMENT:¦'URL'", Unmistakable("not '")),
    ("ATTACHMENT:¦“URL”", Unmistakable("not “")),
    ("ATTACHMENT:¦„URL“", Unmistakable("not „")),
    ("ATTACHMENT:¦«URL»", Unmistakable("not «")),
    ("ATTACHMENT:\"URL¦”", Unmistakable("not ”")),
    ("ATTACHMENT:¦<URL>", Unmistakable("not <")),
    ("ATTACHMENT:¦`URL`", Unmistakable("not `")),
    // Diagnosed, and never delivered.
    ("ATTACHMENT:¦URL", Offered("double quotes")),
    (r#"ATTACHMENT:"URL¦"#, Offered("do not match")),
    (r#"ATTACHMENT:¦""URL""#, Offered("do not match")),
    (r#"ATTACHMENT:¦\"URL\""#, Offered("escaped")),
    ("ATTACHMENT:¦&quot;URL&quot;", Offered("escaped")),
    (r#"ATTACHMENT¦ :"URL""#, Offered("without a space")),
    (r#"ATTACHMENT¦："URL""#, Offered("not ：")),
    ("ATTACHMENT：「¦URL」", Offered("bare")),
    (r#"ATTACHMENT¦="URL""#, Offered("not =")),
    (r#"ATTACHMENT¦"URL""#, Offered("colon")),
    (r#"¦Please read ATTACHMENT:"URL""#, Offered("text before")),
    (r#"ATTACHMENT:"URL" ¦please"#, Offered("text after")),
    (r#"ATTACHMENT:"URL" ¦ATTACHMENT:"URL""#, Offered("several")),
    (r#"¦- ATTACHMENT:"URL""#, Offered("markup")),
    (r#"¦> ATTACHMENT:"URL""#, Offered("markup")),
    (r#"¦`ATTACHMENT:"URL"`"#, Offered("markup")),
    (r#"¦**ATTACHMENT:"URL"**"#, Offered("markup")),
    ("ATTACHMENT:¦[data.csv](URL)", Offered("double quotes")),
    ("¦\u{feff}ATTACHMENT:\"URL\"", Offered("U+FEFF")),
    ("ATT¦\u{200b}ACHMENT:\"URL\"", Offered("U+200B")),
    ("ATTACHMENT:¦\u{a0}\"URL\"", Offered("U+00A0")),
    ("¦URL", Offered("bare")),
    ("See ¦URL, please.", Offered("bare")),
    ("看¦URL。", Offered("bare")),
    ("[data](¦URL)", Offered("bare")),
    // Diagnosed, and nothing to offer.
    (r#"ATTACHMENT:"¦{file_url}""#, Noticed("absolute")),
    (r#"ATTACHMENT:"¦data.csv""#, Noticed("absolute")),
    (r#"ATTACHMENT:"¦ftp://example.org/data.csv""#, Noticed("absolute")),
    (r#"ATTACHMENT:"¦https://...""#, Noticed("absolute")),
    (r#"ATTACHMENT:"¦file:///etc/passwd""#, Noticed("absolute")),
    (r#"ATTACHMENT:¦ "https://evil.example/data.csv""#, Noticed("its host is evil.example")),
    // Ordinary text.
    ("", Nothing),
    ("see the attachment: it has three columns", Nothing),
    ("ATTACHMENTS: none", Nothing),
    ("Content-Disposition: attachment; filename=\"a.csv\"", Nothing),
    ("https://example.org/attachments/ID/data.csv", Nothing),
];
