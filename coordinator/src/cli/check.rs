//! `coordinator check`.

use ulda_run::spec::RunSpec;

use super::arguments::{CheckArguments, OutputFormat};
use super::common::{block_on, columns, host, print, print_json, say, worker_binary};
use super::stages::chosen_configuration;
use crate::check::{Depth, Extent, Findings, examine, of_problems};
use crate::config::LoadedConfig;
use crate::exit::{Exit, Stop};

pub fn check(arguments: &CheckArguments) -> Result<Exit, Stop> {
    let LoadedConfig { config, places } = chosen_configuration(&arguments.config, &arguments.stages)?;
    let name = config.run.name.to_string();
    let findings = match RunSpec::resolve(config, host(arguments.workers)) {
        Err(problems) => of_problems(problems),
        Ok(spec) => {
            for note in spec.notes(arguments.workers) {
                say(format_args!("note: {note}"));
            }
            let serve = &arguments.serve;
            let extent = Extent {
                depth: if arguments.pixels {
                    Depth::Pixels
                } else {
                    Depth::Headers
                },
                worker_binary: if serve.no_launch {
                    None
                } else {
                    Some(worker_binary(serve.worker_binary.as_deref())?)
                },
                workers: arguments.workers,
                listen: Some(serve.listen),
            };
            let mut findings = block_on(examine(&spec, &extent))?.findings;
            say_notes(&mut findings);
            findings.0.extend(super::security::findings(serve));
            findings
        }
    };
    let findings = findings.placed(&places);
    match arguments.output {
        OutputFormat::Json => print_json(&findings)?,
        OutputFormat::Table => print(&table(&findings, &name))?,
    }
    Ok(findings.exit())
}

/// Says what is only worth a thought, and leaves what is wrong.
pub(super) fn say_notes(findings: &mut Findings) {
    for note in findings.take_notes() {
        say(format_args!("note: {note}"));
    }
}

fn table(findings: &Findings, name: &str) -> String {
    if findings.is_empty() {
        return format!("run `{name}`: nothing wrong was found\n");
    }
    let mut rows = vec![vec!["KEY".to_owned(), "WHAT IS WRONG".to_owned()]];
    for finding in &findings.0 {
        let mut lines = finding.what.lines();
        rows.push(vec![
            finding.key.clone(),
            lines.next().unwrap_or_default().to_owned(),
        ]);
        rows.extend(lines.map(|line| vec![String::new(), line.trim().to_owned()]));
        if !finding.hint.is_empty() {
            rows.push(vec![String::new(), format!("hint: {}", finding.hint)]);
        }
    }
    let plural = if findings.0.len() == 1 { "" } else { "s" };
    format!(
        "{}\nrun `{name}`: {} problem{plural} found\n",
        columns(&rows),
        findings.0.len()
    )
}
