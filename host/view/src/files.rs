//! The files of the page. They are part of the binary, and need nothing from elsewhere.

/// A file of the page.
#[derive(Debug, Clone, Copy)]
pub struct PageFile {
    /// Where the browser gets it.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

/// All files. They contain nothing about this agent or its guests.
pub fn page_files() -> [PageFile; 3] {
    let file = |path, content_type, content| PageFile { path, content_type, content };
    [
        file("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
        file("/page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
        file("/page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ]
}
