use clap::Args;
use uuid::Uuid;

use super::Failure;
use super::output::print;
use crate::api::hashed;

/// Make a token for the query API
///
/// Prints the token, for its user, and the line with its hash for the file of api.tokens.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The project whose samples it gives access to
    #[arg(long)]
    project: String,
    /// Its roles, separated by commas: admin sees all projects, auditor sees all and posts nothing
    #[arg(long, default_value = "member")]
    roles: String,
}

impl Token {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let bad =
            |text: &str| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '#');
        if bad(&self.project) || bad(&self.roles) {
            let text = "project and roles must not be empty, and have no blanks and no #";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        // 244 random bits of the system.
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        print(&format!("token: {token}"))?;
        print(&format!("line:  {} {} {}", hashed(&token), self.project, self.roles))?;
        Ok(())
    }
}
