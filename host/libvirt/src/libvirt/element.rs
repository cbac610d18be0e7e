//! Elements and attributes of XML, and what can be wrong with them.

use roxmltree::Node;
use thiserror::Error;

use nephometer_model::Exceeded;

/// Why a domain's XML cannot be used. It costs that domain only.
#[derive(Debug, Error)]
pub(crate) enum XmlError {
    /// More than is worked on.
    #[error(transparent)]
    TooMuch(#[from] Exceeded),
    /// Not XML at all.
    #[error("the XML cannot be parsed")]
    Syntax(#[from] roxmltree::Error),
    /// An element or attribute that every domain has is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number is expected.
    #[error("{what} is {text:?}, which is no whole number")]
    NotANumber {
        /// The element.
        what: &'static str,
        /// Its text.
        text: String,
    },
    /// `uuid` is none.
    #[error("uuid is {0:?}, which is no uuid")]
    NotAUuid(String),
}

pub(super) fn child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(parent, name).next()
}

pub(super) fn children<'a, 'i>(
    parent: Node<'a, 'i>,
    name: &str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    parent.children().filter(move |node| node.has_tag_name(name))
}

/// An attribute that must be there.
pub(super) fn attribute(
    node: Node<'_, '_>,
    name: &str,
    what: &'static str,
) -> Result<String, XmlError> {
    node.attribute(name).map(str::to_owned).ok_or(XmlError::Missing(what))
}
