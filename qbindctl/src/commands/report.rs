//! `qbindctl report`: what a run has to say, in the form somebody asks for.

use super::{attest, evidence_dir::EvidenceDir};
use crate::exit::{DONE, USAGE};
use clap::{Args, ValueEnum};
use qbind_evidence::Digest;
use qbind_report::{
    ReportInput, SignOffs, export_openmetrics, render_checklist, render_html, render_json,
    render_junit, render_markdown, render_upgrade_checklist,
};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The whole report, one self-contained page.
    Html,
    /// The whole report but for its curves.
    Markdown,
    /// The guide's checklist, filled in.
    Checklist,
    /// The guide's upgrade checklist, filled in.
    UpgradeChecklist,
    /// Steps and gates for a CI.
    Junit,
    /// The whole report for programs.
    Json,
    /// Every scrape with its time, for `promtool tsdb create-blocks-from openmetrics`.
    Openmetrics,
}

/// A report.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A bundle, or the output directory of a rehearsal
    #[arg(value_name = "BUNDLE|DIR")]
    evidence: PathBuf,
    /// In which form
    #[arg(long, value_enum)]
    format: Format,
    /// Also show the decisions in the bundle, checked under this policy (policy.yaml)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The signed plan (plan.dsse.json) that was handed out before the run
    #[arg(long, value_name = "FILE", requires = "policy")]
    planned: Option<PathBuf>,
    /// Ask about the decisions at this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", requires = "policy")]
    at: Option<String>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command; returns the exit code. Verdicts do not show in it: `gates evaluate` judges.
pub(crate) fn run(args: &ReportArgs) -> u8 {
    match write(args) {
        Ok(()) => DONE,
        Err(why) => {
            eprintln!("qbindctl: {why}");
            USAGE
        }
    }
}

fn write(args: &ReportArgs) -> Result<(), String> {
    let has_room =
        matches!(args.format, Format::Html | Format::Markdown | Format::Junit | Format::Json);
    if args.policy.is_some() && !has_room {
        let forms = "html, markdown, junit and json show sign-offs";
        return Err(format!("--policy has no place in this form: {forms}"));
    }
    // Before anything is unpacked: who asks about decisions wants no report without them.
    let sign_offs = args.policy.as_deref().map(|policy| sign_offs(args, policy)).transpose()?;
    let evidence = EvidenceDir::open(&args.evidence)?;
    let out = || -> io::Result<Box<dyn Write>> {
        Ok(match &args.out {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(BufWriter::new(io::stdout().lock())),
        })
    };
    let failed = |e: io::Error| match &args.out {
        Some(path) => format!("cannot write {}: {e}", path.display()),
        None => format!("cannot write to standard output: {e}"),
    };
    if args.format == Format::Openmetrics {
        let mut to = out().map_err(failed)?;
        let done = export_openmetrics(evidence.path(), &mut to).map_err(|e| chain(&e))?;
        to.flush().map_err(failed)?;
        let (scrapes, samples, gaps) = (done.scrapes, done.samples, done.failed);
        eprintln!("{samples} samples of {scrapes} scrapes; {gaps} scrapes failed and are gaps");
        if done.dropped > 0 {
            eprintln!("{} lines were no samples of their node and are left out", done.dropped);
        }
        return Ok(());
    }
    let mut input = ReportInput::from_dir(evidence.path()).map_err(|e| chain(&e))?;
    if let Some((given, root)) = sign_offs {
        let manifest = fs::read(evidence.path().join("manifest.json")).unwrap_or_default();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
        if root.map(|root| root.to_string()).as_deref() != manifest["merkle_root"].as_str() {
            let bundle = args.evidence.display();
            return Err(format!("{bundle} became another bundle while it was read; try again"));
        }
        input.sign_offs = Some(given);
    }
    let text = match args.format {
        Format::Html => render_html(&input),
        Format::Markdown => render_markdown(&input),
        Format::Checklist => render_checklist(&input),
        Format::UpgradeChecklist => render_upgrade_checklist(&input),
        Format::Junit => render_junit(&input),
        Format::Json | Format::Openmetrics => render_json(&input),
    };
    let mut to = out().map_err(failed)?;
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(failed)
}

fn sign_offs(args: &ReportArgs, policy: &Path) -> Result<(SignOffs, Option<Digest>), String> {
    if args.evidence.is_dir() {
        let dir = args.evidence.display();
        return Err(format!(
            "{dir} is a directory; decisions are in the bundle that was sealed from it"
        ));
    }
    attest::sign_offs(&args.evidence, policy, args.planned.as_deref(), args.at.as_deref())
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_written_and_what_is_no_evidence_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("evidence")).unwrap();
        let path = |name: &str| dir.path().join(name);
        let of = |evidence: &str| ReportArgs {
            evidence: path(evidence),
            format: Format::Html,
            policy: None,
            planned: None,
            at: None,
            out: Some(path("x")),
        };
        for (format, starts) in [
            (Format::Html, "<!doctype html>"),
            (Format::Markdown, "# INCONCLUSIVE: "),
            (Format::Checklist, "## T238.5"),
            (Format::UpgradeChecklist, "## Upgrade Checklist"),
            (Format::Junit, "<?xml"),
            (Format::Json, "{"),
        ] {
            let out = Some(path("out"));
            let args = ReportArgs { format, out, ..of("evidence") };
            assert_eq!(run(&args), DONE, "{format:?}");
            let text = std::fs::read_to_string(path("out")).unwrap();
            assert!(text.starts_with(starts), "{format:?}: {text:.60}");
        }
        // Decisions are in bundles, and some forms have no place for them.
        for format in [Format::Html, Format::Checklist] {
            let policy = Some(path("policy.yaml"));
            assert_eq!(run(&ReportArgs { policy, format, ..of("evidence") }), USAGE);
        }
        std::fs::write(path("junk"), "junk").unwrap();
        for (evidence, format) in [
            (path("evidence"), Format::Openmetrics),
            (path("junk"), Format::Html),
            (path("nowhere"), Format::Html),
        ] {
            assert_eq!(run(&ReportArgs { evidence, format, ..of("") }), USAGE);
        }
    }
}
