//! Measures portcullis' policies beside those of other crates. `--help` says how.

use std::{env, error::Error, fs, process::ExitCode};

use peers::{
    counted, growth,
    measure::{self, Plan},
    panel::Group,
    report::{self, Findings},
    subjects, targets,
};

const HELP: &str = "\
Measures portcullis' policies beside those of other crates, in one run.

cargo run --release -p peers                 measures, prints, writes RESULTS.md: some minutes
cargo run --release -p peers -- --quick      half a minute; prints only
cargo run --release -p peers -- --list       the groups, and the subjects of each

Options:
  --rounds <n>                batches per subject
  --only <group>              measures one group; prints only
  --only <subject> --iters <n>
                              makes that many calls of one subject and measures nothing

Instructions per call: run one subject under callgrind at two lengths; the difference over the
difference in calls leaves out what starting costs.

  for n in 100000 200000; do
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \\
      target/release/peers --only recloser-call --iters $n 2>&1 | grep Collected
  done

Allocations and bytes per key alone: cargo run --release -p peers --bin allocations
";

#[derive(Default)]
struct Arguments {
    quick: bool,
    list: bool,
    help: bool,
    rounds: Option<u32>,
    only: Option<String>,
    iters: Option<u64>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--quick" => parsed.quick = true,
            "--list" => parsed.list = true,
            "--help" | "-h" => parsed.help = true,
            "--rounds" => parsed.rounds = Some(value()?.parse()?),
            "--only" => parsed.only = Some(value()?),
            "--iters" => parsed.iters = Some(value()?.parse()?),
            _ => return Err(format!("unknown option {word}; try --help").into()),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    if arguments.help {
        print!("{HELP}");
        return Ok(());
    }
    let mut only = None;
    if let Some(name) = &arguments.only {
        if let Some(calls) = arguments.iters {
            return one(name, calls);
        }
        let group = Group::named(name);
        only = Some(group.ok_or_else(|| format!("no group is called {name}; try --list"))?);
    }
    let subjects = subjects(only);
    if arguments.list {
        for subject in subjects {
            println!("{:10} {}", subject.panel.group().name(), subject.name);
        }
        return Ok(());
    }
    if only.is_none() {
        let unknown = targets::unknown(&subjects);
        if !unknown.is_empty() {
            return Err(format!("to be compared, and no subject: {}", unknown.join(", ")).into());
        }
    }

    let mut plan = if arguments.quick { Plan::QUICK } else { Plan::FULL };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds);
    let (costs, rounds) = measure::run(&subjects, plan);
    let growth = growth::run(only, arguments.quick);
    let findings = Findings::new(rounds, costs, counted::ask(only), growth).markdown();
    print!("{findings}");
    // What is written down is of one run.
    if !arguments.quick && only.is_none() {
        fs::write(report::folder().join("RESULTS.md"), findings)?;
    }
    Ok(())
}

/// Makes so many calls of one subject.
fn one(name: &str, calls: u64) -> Result<(), Box<dyn Error>> {
    let subject = subjects(None).into_iter().find(|subject| subject.name == name);
    let subject = subject.ok_or_else(|| format!("no subject is called {name}; try --list"))?;
    (subject.make)()(calls);
    Ok(())
}
