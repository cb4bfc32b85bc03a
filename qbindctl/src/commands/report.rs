//! `qbindctl report`: what a run has to say, in the form somebody asks for.

use super::evidence_dir::EvidenceDir;
use crate::exit::{DONE, USAGE};
use clap::{Args, ValueEnum};
use qbind_report::{
    ReportInput, export_openmetrics, render_checklist, render_html, render_json, render_junit,
    render_markdown, render_upgrade_checklist,
};
use std::{
    error::Error,
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
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
    let input = ReportInput::from_dir(evidence.path()).map_err(|e| chain(&e))?;
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
        for (format, starts) in [
            (Format::Html, "<!doctype html>"),
            (Format::Markdown, "# INCONCLUSIVE: "),
            (Format::Checklist, "## T238.5"),
            (Format::UpgradeChecklist, "## Upgrade Checklist"),
            (Format::Junit, "<?xml"),
            (Format::Json, "{"),
        ] {
            let out = Some(path("out"));
            let args = ReportArgs { evidence: path("evidence"), format, out };
            assert_eq!(run(&args), DONE, "{format:?}");
            let text = std::fs::read_to_string(path("out")).unwrap();
            assert!(text.starts_with(starts), "{format:?}: {text:.60}");
        }
        std::fs::write(path("junk"), "junk").unwrap();
        for (evidence, format) in [
            (path("evidence"), Format::Openmetrics),
            (path("junk"), Format::Html),
            (path("nowhere"), Format::Html),
        ] {
            assert_eq!(run(&ReportArgs { evidence, format, out: Some(path("x")) }), USAGE);
        }
    }
}
