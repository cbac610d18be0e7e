//! The files of the two pages: that of the agent and that of the collector.
//!
//! Both have one stylesheet and one script of helpers, so that they look and behave alike. The files are
//! part of the programs and need nothing from elsewhere. They contain nothing about an agent, its guests
//! or a store: what they show they ask for with a token. This crate must not know how they are served.

/// A file of a page.
#[derive(Debug, Clone, Copy)]
pub struct PageFile {
    /// Where the browser gets it.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

/// The value of `content-security-policy` that the pages are served with: a page loads its own files
/// only, and no other page may embed it.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                          img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const fn file(path: &'static str, content_type: &'static str, content: &'static str) -> PageFile {
    PageFile { path, content_type, content }
}

const STYLE: PageFile = file("/page.css", CSS, include_str!("../files/page.css"));
const COMMON: PageFile = file("/common.js", SCRIPT, include_str!("../files/common.js"));

/// All files of the agent's page.
pub const AGENT_PAGE: [PageFile; 4] = [
    file("/", HTML, include_str!("../files/agent/index.html")),
    STYLE,
    COMMON,
    file("/page.js", SCRIPT, include_str!("../files/agent/page.js")),
];

/// All files of the collector's page.
pub const COLLECTOR_PAGE: [PageFile; 9] = [
    file("/", HTML, include_str!("../files/collector/index.html")),
    STYLE,
    COMMON,
    file("/page.js", SCRIPT, include_str!("../files/collector/page.js")),
    file("/ask.js", SCRIPT, include_str!("../files/collector/ask.js")),
    file("/plot.js", SCRIPT, include_str!("../files/collector/plot.js")),
    file("/series.js", SCRIPT, include_str!("../files/collector/series.js")),
    file("/fleet.js", SCRIPT, include_str!("../files/collector/fleet.js")),
    file("/audit.js", SCRIPT, include_str!("../files/collector/audit.js")),
];
