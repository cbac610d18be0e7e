//! The languages that projects come in, and how a folder is known to be one.

use std::fmt;
use std::path::Path;

/// A language with a template and a helper library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust, with cargo.
    Rust,
    /// C, with clang.
    C,
    /// JavaScript, with componentize-js.
    JavaScript,
    /// Python, with componentize-py.
    Python,
    /// Go, with Go's own compiler.
    Go,
    /// Zig.
    Zig,
}

/// What a component does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Samples in, samples out.
    Transformer,
    /// Samples in, sent somewhere.
    Publisher,
}

impl Language {
    const ALL: [Self; 6] =
        [Self::Rust, Self::C, Self::JavaScript, Self::Python, Self::Go, Self::Zig];

    /// The file that makes a folder a project in this language.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::C => "component.c",
            Self::JavaScript => "component.js",
            Self::Python => "component.py",
            Self::Go => "go.mod",
            Self::Zig => "component.zig",
        }
    }

    /// The language of a project.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| folder.join(language.mark()).is_file())
    }

    /// All marks, for people.
    pub(super) fn marks() -> String {
        Self::ALL.map(Self::mark).join(", ")
    }

    /// The folder of its templates, and what `--lang` says.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::Go => "go",
            Self::Zig => "zig",
        }
    }
}

impl Kind {
    /// As `--kind` says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::Publisher => "publisher",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::JavaScript => "JavaScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::Zig => "Zig",
        })
    }
}
