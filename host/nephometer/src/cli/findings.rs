//! What `nephometer check` found, in the formats that it prints.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Value, json};
use url::Url;

use super::output;
use crate::app::ComponentProblem;
use nephometer_config::{Excerpt, ExcerptFiles, Location, Problem};
use nephometer_model::clean;

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FindingFormat {
    /// With the line of the file and the remedy below
    Text,
    /// One line each
    Short,
    /// One JSON object with `errors` and `warnings`
    Json,
    /// SARIF 2.1.0, for tools that show findings beside the lines of a file
    Sarif,
}

/// The levels of findings, in the order of the rules of SARIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }

    fn rule(self) -> String {
        format!("configuration-{}", self.name())
    }
}

/// An error or a warning, of the files or of a component.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    place: Location,
    message: String,
    /// `None` if the message has it.
    remedy: Option<String>,
}

impl From<Problem> for Finding {
    fn from(Problem { location, what, remedy, .. }: Problem) -> Self {
        Self { place: location, message: what, remedy: Some(remedy) }
    }
}

impl From<ComponentProblem> for Finding {
    fn from(ComponentProblem { place, reason }: ComponentProblem) -> Self {
        Self { place, message: reason, remedy: None }
    }
}

impl Finding {
    /// The place, the message and the remedy.
    fn line(&self) -> String {
        format!("{}: {}", self.place, self.sentence())
    }

    fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        }
    }

    fn to_json(&self) -> Value {
        let Location { file, line, column } = &self.place;
        let number = |number: usize| (*line > 0).then_some(number);
        json!({
            "file": **file,
            "line": number(*line),
            "column": number(*column),
            "message": self.message,
            "remedy": self.remedy,
        })
    }

    fn to_sarif(&self, severity: Severity) -> Value {
        let mut result = json!({
            "ruleId": severity.rule(),
            "ruleIndex": severity as usize,
            "level": severity.name(),
            "message": {"text": self.sentence()},
        });
        let Location { file, line, column } = &self.place;
        // Variables and options of the command line have no location in a file.
        if *line == 0 && !file.contains(['/', '.']) {
            result["message"]["text"] = self.line().into();
            return result;
        }
        let mut physical = json!({"artifactLocation": {"uri": uri(file)}});
        if *line > 0 {
            physical["region"] = json!({"startLine": line, "startColumn": (*column).max(1)});
        }
        result["locations"] = json!([{"physicalLocation": physical}]);
        result
    }
}

/// A path as a reference in the form of RFC 3986, relative if the path is.
fn uri(file: &str) -> String {
    let absolute = Url::from_file_path(format!("/{}", file.trim_start_matches('/')));
    match absolute {
        Ok(url) if file.starts_with('/') => url.into(),
        // `Url` would resolve the dots of a relative path.
        Ok(_) if file.split('/').any(|part| part == "..") => file.replace(' ', "%20"),
        Ok(url) => url.path().trim_start_matches('/').to_owned(),
        Err(()) => file.to_owned(),
    }
}

/// All findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

/// The terminal that findings are printed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// In characters.
    pub(super) width: usize,
    pub(super) is_coloured: bool,
}

impl Findings {
    /// Sorts the errors by their places.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_cached_key(|one| (one.place.clone(), one.line()));
    }

    /// Prints one line each, the warnings first.
    pub(super) fn print_short(&self, out: &mut impl Write) -> io::Result<()> {
        for warning in &self.warnings {
            writeln!(out, "warning: {}", output::paragraph(&warning.line()))?;
        }
        for error in &self.errors {
            writeln!(out, "{}", output::paragraph(&error.line()))?;
        }
        Ok(())
    }

    /// Prints each with its line of the file. `out` may be a terminal: all texts are cleaned.
    pub(super) fn print_text(&self, out: &mut impl Write, screen: Screen) -> io::Result<()> {
        let mut files = ExcerptFiles::default();
        let warnings = self.warnings.iter().map(|one| (Severity::Warning, one));
        for (severity, one) in warnings.chain(self.errors.iter().map(|one| (Severity::Error, one)))
        {
            let gutter = one.place.line.to_string().len();
            let excerpt = files.excerpt(&one.place, screen.width.saturating_sub(gutter + 4));
            screen.print(out, severity, one, excerpt)?;
        }
        Ok(())
    }

    /// All findings as one JSON object.
    pub(super) fn to_json(&self) -> Value {
        let list = |found: &[Finding]| found.iter().map(Finding::to_json).collect::<Vec<_>>();
        json!({"errors": list(&self.errors), "warnings": list(&self.warnings)})
    }

    /// All findings as a log in the form of SARIF 2.1.0.
    pub(super) fn to_sarif(&self) -> Value {
        let rule = |severity: Severity, text: &str| {
            json!({
                "id": severity.rule(),
                "shortDescription": {"text": text},
                "defaultConfiguration": {"level": severity.name()},
            })
        };
        let rules = [
            rule(
                Severity::Error,
                "The configuration is wrong, and the agent does not start with it",
            ),
            rule(Severity::Warning, "The configuration works, but not as it may be meant"),
        ];
        let errors = self.errors.iter().map(|one| one.to_sarif(Severity::Error));
        let warnings = self.warnings.iter().map(|one| one.to_sarif(Severity::Warning));
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "nephometer",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "columnKind": "unicodeCodePoints",
                "results": errors.chain(warnings).collect::<Vec<_>>(),
            }],
        })
    }
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[34m";
const BOLD: &str = "\x1b[1m";

impl Screen {
    fn print(
        self,
        out: &mut impl Write,
        severity: Severity,
        one: &Finding,
        excerpt: Option<Excerpt>,
    ) -> io::Result<()> {
        let (colour, prefix) = match severity {
            Severity::Error => (RED, ""),
            Severity::Warning => (YELLOW, "warning: "),
        };
        let place = clean(&one.place.to_string());
        let message = output::paragraph(&one.message);
        let (prefix, place) = (self.paint(colour, prefix), self.paint(BOLD, &place));
        writeln!(out, "{prefix}{place}: {message}")?;
        let number = one.place.line.to_string();
        let indent = " ".repeat(number.len());
        let bar = self.paint(BLUE, "|");
        if let Some(Excerpt { text, caret }) = excerpt {
            let (number, mark) = (self.paint(BLUE, &number), self.paint(colour, "^"));
            writeln!(out, " {number} {bar} {}", text.trim_end())?;
            writeln!(out, " {indent} {bar} {}{mark}", " ".repeat(caret))?;
        }
        if let Some(remedy) = &one.remedy {
            writeln!(out, " {indent} {} {}", self.paint(BLUE, "="), clean(remedy))?;
        }
        Ok(())
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.is_coloured && !text.is_empty() {
            format!("{colour}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_mark_only_what_is_not_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "a:\n  b: \"x\u{1b}[2J\"\n").unwrap();
        let name = file.display().to_string();
        let place = Location { file: name.as_str().into(), line: 2, column: 6 };
        let finding =
            Finding { place, message: "it\u{1b} is".to_owned(), remedy: Some("do it".to_owned()) };
        let findings = Findings { errors: vec![finding], warnings: Vec::new() };
        let printed = |is_coloured| {
            let mut out = Vec::new();
            findings.print_text(&mut out, Screen { width: 80, is_coloured }).unwrap();
            String::from_utf8(out).unwrap()
        };
        let plain = printed(false);
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(plain.contains(":2:6: it\\u{1b} is\n 2 |   b:"), "{plain}");
        assert!(plain.ends_with("   |      ^\n   = do it\n"), "{plain}");
        let coloured = printed(true);
        assert!(coloured.starts_with(BOLD) && coloured.contains(&format!("{RED}^\x1b[0m")));
        assert!(!coloured.contains("\x1b[2J"), "{coloured:?}");
    }

    #[test]
    fn paths_become_references() {
        for (file, expected) in [
            ("/etc/a b.yaml", "file:///etc/a%20b.yaml"),
            ("pipeline.yaml", "pipeline.yaml"),
            ("conf/p q.yaml", "conf/p%20q.yaml"),
            ("../a b.yaml", "../a%20b.yaml"),
        ] {
            assert_eq!(uri(file), expected);
        }
    }
}
