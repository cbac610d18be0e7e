//! Errors in the form of the real API, which clients parse.

use serde_json::{Value, json};

use crate::store::StoreError;

/// A status and its body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl ApiError {
    /// An error of WSME: what the client did wrong.
    pub(super) fn client(status: u16, text: impl Into<String>) -> Self {
        let fault = json!({"faultcode": "Client", "faultstring": text.into(), "debuginfo": null});
        Self { status, body: json!({"error_message": fault}) }
    }

    pub(super) fn invalid(field: &str, value: &str, text: &str) -> Self {
        let value = python(value);
        Self::client(
            400,
            format!("Invalid input for field/attribute {field}. Value: {value}. {text}"),
        )
    }

    pub(super) fn unknown(argument: &str, text: &str) -> Self {
        Self::client(400, format!("Unknown argument: \"{argument}\": {text}"))
    }

    pub(super) fn not_found(entity: &str, id: &str) -> Self {
        Self::client(404, format!("{entity} {id} Not Found"))
    }

    pub(super) fn other_project(project: &str) -> Self {
        Self::client(401, format!("Not Authorized to access project {project}"))
    }

    /// A page of Pecan, for what is no resource of the API.
    pub(super) fn page(status: u16, title: &str, text: &str) -> Self {
        let page = format!(
            "<html>\n <head>\n  <title>{status} {title}</title>\n </head>\n <body>\n  \
             <h1>{status} {title}</h1>\n  {text}<br /><br />\n\n\n\n </body>\n</html>"
        );
        Self { status, body: json!({"error_message": page}) }
    }

    /// The answer of Keystone's middleware.
    pub(super) fn unauthenticated() -> Self {
        let text = "The request you have made requires authentication.";
        let body = json!({"error": {"code": 401, "title": "Unauthorized", "message": text}});
        Self { status: 401, body }
    }

    /// The same, while Keystone does not answer.
    pub(super) fn keystone_away() -> Self {
        let text = "The Keystone service is temporarily unavailable.";
        let body = json!({"error": {"code": 503, "title": "Service Unavailable", "message": text}});
        Self { status: 503, body }
    }

    pub(super) fn forbidden() -> Self {
        Self::client(403, "RBAC Authorization Failed")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooMuch(_) | StoreError::Expired(_) | StoreError::Bound(_) => {
                Self::client(400, error.to_string())
            }
            // The path of a file is nothing for clients; the log has it.
            _ => Self {
                status: 503,
                body: json!({"error_message": {"faultcode": "Server",
                    "faultstring": "The store does not answer. Try again later.",
                    "debuginfo": null}}),
            },
        }
    }
}

/// Text as Python's `repr` prints it.
pub(super) fn python(text: &str) -> String {
    let mut out = Vec::new();
    nephometer_wire::Notation::Repr.string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}
