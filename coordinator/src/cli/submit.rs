//! `coordinator submit`.

use serde::Serialize;
use ulda_kubernetes::cluster::{Applied, ApplyOutcome, Cluster, Earnest};
use ulda_kubernetes::{ObjectManifest, Submission, list_of, plan, render_submission, yaml_of};

use super::cluster::{follow, refused};
use super::cluster_arguments::{ClusterArguments, DryRun, ObjectFormat, SubmitArguments};
use super::common::{block_on, columns, print, print_json};
use super::submission::submission;
use crate::exit::{Exit, Stop};

pub fn submit(arguments: &SubmitArguments) -> Result<Exit, Stop> {
    let submission = submission(arguments)?;
    let manifests = render_submission(&submission);
    if arguments.dry_run == Some(DryRun::Client) {
        print_objects(arguments.output, &submission, &manifests)?;
        return Ok(Exit::Done);
    }
    eprint!("{}", plan_table(&submission, &manifests));
    block_on(send(arguments, &submission, &manifests))?
}

async fn send(
    arguments: &SubmitArguments,
    submission: &Submission,
    manifests: &[ObjectManifest],
) -> Result<Exit, Stop> {
    let ClusterArguments { namespace, context } = &arguments.cluster;
    let cluster = Cluster::connect(context.as_deref(), namespace.as_ref())
        .await
        .map_err(refused)?;
    let earnest = match arguments.dry_run {
        Some(_) => Earnest::DryRun,
        None => Earnest::Apply,
    };
    let applied = cluster
        .apply(&submission.run, manifests, earnest)
        .await
        .map_err(refused)?;
    match arguments.output {
        Some(ObjectFormat::Json) => print_json(&told(&cluster, submission, &applied))?,
        Some(ObjectFormat::Yaml) => print(&yaml_of(manifests))?,
        None => eprint!("\n{}", applied_table(&applied, cluster.namespace(), earnest)),
    }
    if earnest == Earnest::DryRun {
        return Ok(Exit::Done);
    }
    eprintln!("\n{}", useful_commands(arguments, submission, &cluster));
    if arguments.detach {
        return Ok(Exit::Done);
    }
    follow(&cluster, &submission.run).await
}

fn print_objects(
    format: Option<ObjectFormat>,
    submission: &Submission,
    manifests: &[ObjectManifest],
) -> Result<(), Stop> {
    match format {
        Some(ObjectFormat::Yaml) => print(&yaml_of(manifests)),
        Some(ObjectFormat::Json) => print_json(&list_of(manifests)),
        None => {
            print(&plan_table(submission, manifests))?;
            eprintln!("\nnothing was changed; -o yaml prints the objects");
            Ok(())
        }
    }
}

fn plan_table(submission: &Submission, manifests: &[ObjectManifest]) -> String {
    let rows: Vec<Vec<String>> = plan(submission, manifests).into_iter().map(Vec::from).collect();
    columns(&rows)
}

fn applied_table(applied: &[Applied], namespace: &str, earnest: Earnest) -> String {
    let rows: Vec<Vec<String>> = applied
        .iter()
        .map(|object| {
            let what = match (object.outcome, earnest) {
                (ApplyOutcome::Created, Earnest::Apply) => "created",
                (ApplyOutcome::Created, Earnest::DryRun) => "would be created",
                (ApplyOutcome::There, _) => "is there already",
            };
            vec![object.kind.clone(), object.name.clone(), what.to_owned()]
        })
        .collect();
    format!("in namespace {namespace}\n{}", columns(&rows))
}

#[derive(Serialize)]
struct Told<'a> {
    run: &'a str,
    namespace: &'a str,
    objects: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    kind: &'a str,
    name: &'a str,
    outcome: &'static str,
}

fn told<'a>(cluster: &'a Cluster, submission: &'a Submission, applied: &'a [Applied]) -> Told<'a> {
    let objects = applied.iter().map(|object| Object {
        kind: &object.kind,
        name: &object.name,
        outcome: match object.outcome {
            ApplyOutcome::Created => "created",
            ApplyOutcome::There => "unchanged",
        },
    });
    Told {
        run: submission.run.as_str(),
        namespace: cluster.namespace(),
        objects: objects.collect(),
    }
}

fn useful_commands(arguments: &SubmitArguments, submission: &Submission, cluster: &Cluster) -> String {
    let run = &submission.run;
    let context = arguments.cluster.context.as_ref();
    let mut place = format!(" -n {}", cluster.namespace());
    place.extend(context.map(|context| format!(" --context {context}")));
    let rows = [
        (
            format!("coordinator cluster status {run}{place}"),
            "how far it is, and why",
        ),
        (
            format!("coordinator cluster logs -f {run}{place}"),
            "what the coordinator says",
        ),
        (
            format!("kubectl port-forward{place} svc/{} 9464", run.coordinator()),
            "page at http://127.0.0.1:9464/",
        ),
        (
            format!("coordinator cluster stop {run}{place}"),
            "keep everything, resume later",
        ),
        (
            format!("coordinator cluster delete {run}{place}"),
            "remove it; results stay",
        ),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(command, what)| vec![format!("  {command}"), format!("# {what}")])
        .collect();
    format!("useful commands\n{}", columns(&rows))
}
