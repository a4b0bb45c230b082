use super::*;
use crate::clock::Moment;

const ID: &str = "f47ac10b-58cc-4372-a567-0e02b2c3d479";

fn service() -> ServiceUrls {
    ServiceUrls::new("http://127.0.0.1:8080", &[]).unwrap()
}

fn url() -> String {
    format!("http://127.0.0.1:8080/attachments/{ID}/data.csv")
}

fn message(source: Source, text: &str) -> Message {
    Message {
        event_id: "event-1".to_owned(),
        position: 1,
        source,
        is_notice: false,
        message: text.to_owned(),
        user_id: None,
        username: None,
        created_at: Moment(0),
    }
}

fn told(earlier: &[Message], text: &str) -> String {
    let file = |url, path: &str, source| ToldFile {
        url,
        path: path.to_owned(),
        content_type: "text/csv".to_owned(),
        size: 1_234_567,
        source,
    };
    Telling {
        earlier,
        new: &[message(Source::User, text)],
        files: &[
            file(url(), "attachments/data.csv", Source::User),
            file("http://127.0.0.1:8080/r".to_owned(), "output/r.csv", Source::Devin),
        ],
        read_only: true,
        output_hint: "Write into output/.",
        interrupted: false,
    }
    .prompt()
}

#[test]
fn an_agent_reads_a_sentence_in_place_of_each_line() {
    let text = format!("Look at\r\n{}\rand go", line_for(&url()));
    assert_eq!(
        told(&[], &text),
        "Look at\r\n[Attached file: attachments/data.csv (text/csv, 1.2 MB). Read-only.]\rand go\n\n\
         Write into output/.\n"
    );
}

#[test]
fn a_later_prompt_comes_after_the_transcript() {
    let earlier = [
        message(Source::User, "first"),
        message(Source::Devin, "done\nATTACHMENT:\"http://127.0.0.1:8080/r\""),
        Message { is_notice: true, ..message(Source::Devin, "the service says") },
    ];
    assert_eq!(
        told(&earlier, "second"),
        "The conversation so far, oldest message first:\n\nUser: first\n\nYou: done\n\
         [File handed back: output/r.csv (text/csv, 1.2 MB).]\n\nThe new message:\n\nsecond\n\n\
         Write into output/.\n"
    );
}

#[test]
fn a_transcript_has_its_limits() {
    let many: Vec<Message> = (0..80).map(|n| message(Source::User, &format!("number {n}."))).collect();
    let text = transcript(&many, &HashMap::new());
    assert!(!text.contains("number 29.") && text.contains("number 30.") && text.contains("number 79."));
    let long = [message(Source::Devin, &"ä".repeat(20_000)), message(Source::User, "short")];
    let text = transcript(&long, &HashMap::new());
    assert!(text.ends_with("\n\nUser: short") && text.contains(" […]"));
    assert!(text.chars().count() <= TRANSCRIPT_CHARS + 20);
}

#[test]
fn references_are_judged_by_their_url() {
    let text = format!(
        "a\nATTACHMENT:\"\"{}\"\"\nATTACHMENT:\"https://example.org/x.csv\"\nATTACHMENT: \"{}\"",
        url(),
        url()
    );
    let urls = ["ftp://x".to_owned(), url()];
    let reading = read(&text, &urls, &service(), Mode::Strict);
    let found: Vec<(Place, bool)> = reading.references.iter().map(|r| (r.place, r.named.is_ok())).collect();
    let expected = [
        (Place::Line(2), true),
        (Place::Line(3), false),
        (Place::AttachmentUrl(0), false),
        (Place::AttachmentUrl(1), true),
    ];
    assert_eq!(found, expected);
    assert!(reading.references[1].named.as_ref().unwrap_err().contains("`example.org`"));
    assert_eq!(reading.notices.len(), 1);
    assert_eq!(reading.notices[0].line, 4);
    assert_eq!(read(&text, &[], &service(), Mode::Lenient).references.len(), 3);
}

#[test]
fn lines_are_put_in_place_and_at_the_end() {
    let mut text = Rewriting { from: "a\n xx \nb", done: 0, text: String::new() };
    text.put(Some(2..6), "X");
    text.put(None, "Y");
    text.put(None, "Z");
    assert_eq!(text.end(), "a\nX\nb\nY\nZ");
    let mut last = Rewriting { from: "xx", done: 0, text: String::new() };
    last.put(Some(0..2), "X");
    last.put(None, "Y");
    assert_eq!(last.end(), "X\nY");
    let mut empty = Rewriting { from: "", done: 0, text: String::new() };
    empty.put(None, "Y");
    assert_eq!(empty.end(), "Y");
}

#[test]
fn sizes_as_people_read_them() {
    let sizes = [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_000, "1.0 kB"), (1_250_000, "1.2 MB")];
    for (bytes, text) in sizes {
        assert_eq!(readable_size(bytes), text);
    }
}
