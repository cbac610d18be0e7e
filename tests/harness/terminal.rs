use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Agent;

/// A terminal of tmux with a server of its own, which ends with it.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Starts a command in a terminal of this size, in the folder of the agent.
    pub(crate) fn start(agent: &Agent, columns: u16, rows: u16, command: &str) -> Self {
        // A socket of its own: the server of the terminal before may still be ending.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tmux{}", NEXT.fetch_add(1, Relaxed));
        let terminal = Self { socket: agent.folder.at(&name).display().to_string() };
        let size = [columns.to_string(), rows.to_string()];
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-c",
            &agent.folder.path().display().to_string(),
            "-x",
            &size[0],
            "-y",
            &size[1],
            command,
        ]);
        terminal
    }

    /// Runs a command of tmux. Returns its output.
    pub(crate) fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command
            .args(["-S", &self.socket])
            .args(arguments)
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the terminal shows now.
    pub(crate) fn shown(&self) -> String {
        // Lines that the terminal wraps are joined.
        self.tmux(&["capture-pane", "-p", "-J"])
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        drop(command.args(["-S", &self.socket, "kill-server"]).output());
    }
}
