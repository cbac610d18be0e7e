//! The programming languages of projects, and how a project is recognised.

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
    /// TypeScript, with its compiler and componentize-js.
    TypeScript,
    /// Python, with componentize-py.
    Python,
    /// Go, with Go's own compiler.
    Go,
    /// Zig.
    Zig,
}

/// The kind of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Transforms samples.
    Transformer,
    /// Sends samples to a receiver.
    Publisher,
}

impl Language {
    const ALL: [Self; 7] = [
        Self::Rust,
        Self::C,
        Self::JavaScript,
        Self::TypeScript,
        Self::Python,
        Self::Go,
        Self::Zig,
    ];

    /// The file that identifies a project in this language.
    pub(super) fn marker(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::C => "component.c",
            Self::JavaScript => "component.js",
            Self::TypeScript => "component.ts",
            Self::Python => "component.py",
            Self::Go => "go.mod",
            Self::Zig => "component.zig",
        }
    }

    /// Detects the language of a project.
    pub(super) fn detect(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| folder.join(language.marker()).is_file())
    }

    /// The marker files of all languages, for messages.
    pub(super) fn markers() -> String {
        Self::ALL.map(Self::marker).join(", ")
    }

    /// The value of `--lang`, which is also the folder of its templates.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::JavaScript => "js",
            Self::TypeScript => "ts",
            Self::Python => "python",
            Self::Go => "go",
            Self::Zig => "zig",
        }
    }
}

impl Kind {
    /// The value of `--kind`.
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
            Self::TypeScript => "TypeScript",
            Self::Python => "Python",
            Self::Go => "Go",
            Self::Zig => "Zig",
        })
    }
}
