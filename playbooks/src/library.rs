//! The playbooks that come with the program.

use crate::error::PlaybookError;
use crate::model::Playbook;
use crate::read::parse;

const FILES: [(&str, &str); 1] =
    [("validator-down-or-lagging.yaml", include_str!("../validator-down-or-lagging.yaml"))];

/// All of them.
pub fn builtins() -> Vec<Playbook> {
    let read = |(file, text): &(&str, &str)| {
        parse(file, text).expect("a test reads every file that is compiled in")
    };
    FILES.iter().map(read).collect()
}

/// The one with this id.
///
/// # Errors
/// There is none.
pub fn builtin(id: &str) -> Result<Playbook, PlaybookError> {
    let found = builtins().into_iter().find(|playbook| playbook.id == id);
    found.ok_or_else(|| PlaybookError::NotFound { name: id.to_owned() })
}
