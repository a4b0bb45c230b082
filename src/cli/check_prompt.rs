//! `satchel check-prompt`: what a person runs before sending a prompt.
//!
//! Reads the prompt as the service will and says of every line that names a file, or nearly does,
//! what will happen. Asks no server: whether the files exist is found out on sending.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{FolderArgs, print, say};
use crate::attachments::ServiceUrls;
use crate::attachments::reference::{Finding, Mode, Target, scan};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct CheckPrompt {
    /// The file with the prompt; `-` for standard input.
    file: PathBuf,
    /// Address of the service [default: that of the configuration].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArgs,
}

pub(super) fn check(command: &CheckPrompt) -> anyhow::Result<ExitCode> {
    let mut flags = command.folder.flags();
    flags.public_url.clone_from(&command.public_url);
    let config = Config::load(flags)?;
    let mut text = String::new();
    if command.file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(&command.file)
            .with_context(|| format!("{} cannot be read", command.file.display()))?;
    }
    let public_url = config.public_url(config.listen);
    let mut others = config.other_urls.clone();
    others.push(format!("http://localhost:{}", config.listen.port()));
    let urls = ServiceUrls::new(&public_url, &others)?;
    let mode = if config.lenient_references { Mode::Lenient } else { Mode::Strict };
    let lines: Vec<Line> = scan(&text, &urls, mode).into_iter().map(Line::of).collect();
    let good = lines.iter().all(|line| line.good);
    let foreign = lines.iter().any(|line| line.foreign);
    if command.json {
        let rows: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({ "line": line.line, "column": line.column, "ok": line.good,
                        "message": line.message, "corrected": line.corrected })
            })
            .collect();
        print(&format!("{:#}\n", json!({ "ok": good, "lines": rows })))?;
    } else if lines.is_empty() {
        print("no line names a file\n")?;
    } else {
        print(&lines.iter().map(Line::render).collect::<String>())?;
        if foreign {
            say(&format!("the service was taken to be {public_url}; --public-url names another"));
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is said of one line.
struct Line {
    line: usize,
    column: usize,
    good: bool,
    /// Whether it names a file of another service, as far as the address of this one is known.
    foreign: bool,
    message: String,
    corrected: Option<String>,
}

impl Line {
    fn of(finding: Finding) -> Self {
        match finding {
            Finding::NearMiss(notice) => Self {
                line: notice.line,
                column: notice.column,
                good: false,
                foreign: false,
                message: format!("not recognised: {}", notice.reason),
                corrected: notice.corrected,
            },
            Finding::Reference { span, target, notice, .. } => {
                let foreign = matches!(target, Target::Foreign { .. });
                let (good, message) = match target {
                    Target::Attachment(id) => (true, format!("names the file {id}")),
                    Target::Foreign { host } => (
                        false,
                        format!("will be refused: {host} is not this service, and no URL is ever fetched"),
                    ),
                    Target::UserInfo => (false, "will be refused: the URL has user information".to_owned()),
                    Target::NoAttachment | Target::NotAbsoluteHttp => {
                        (false, "will be refused: the URL is not that of an attachment".to_owned())
                    }
                };
                let (reason, corrected) =
                    notice.map_or((String::new(), None), |n| (format!("; {}", n.reason), n.corrected));
                let (line, column) = (span.line, span.column);
                Self { line, column, good, foreign, message: message + &reason, corrected }
            }
        }
    }

    fn render(&self) -> String {
        let mark = if self.good { "ok   " } else { "WRONG" };
        let mut text = format!("{mark} line {}, column {}: {}\n", self.line, self.column, self.message);
        for line in self.corrected.iter().flat_map(|corrected| corrected.lines()) {
            text.push_str(&format!("      write: {line}\n"));
        }
        text
    }
}
