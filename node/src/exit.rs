//! How the process ends, and what a supervisor should make of it.

use std::{error::Error, fmt};

/// Exit codes (systemd: `RestartPreventExitStatus=20 30 64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something outside failed, the signer for one; starting again may help.
    Transient,
    /// The configuration is wrong; starting again will not help.
    Configuration,
    /// Going on could break safety; a person must look first.
    SafetyStop,
    /// The command line is wrong.
    Usage,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Transient => 1,
            Self::Configuration => 20,
            Self::SafetyStop => 30,
            Self::Usage => 64,
        }
    }
}

type Source = Box<dyn Error + Send + Sync>;

/// Why the node stopped, or did not start.
#[derive(Debug)]
pub struct NodeError {
    exit: Exit,
    message: String,
    source: Option<Source>,
}

impl NodeError {
    /// Something outside failed.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { exit: Exit::Transient, message: message.into(), source: None }
    }

    /// The operator's settings cannot work.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { exit: Exit::Configuration, message: message.into(), source: None }
    }

    /// Going on could break safety.
    pub fn safety_stop(message: impl Into<String>) -> Self {
        Self { exit: Exit::SafetyStop, message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The message and every cause behind it, for the one place that prints it.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for NodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn Error + 'static))
    }
}
