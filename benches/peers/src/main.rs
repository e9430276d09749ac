//! Measures portcullis' circuit breaker beside those of other crates. `--help` says how.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fs,
    process::{Command, ExitCode, Stdio},
};

use peers::{
    growth,
    measure::{self, Plan},
    ours,
    report::{self, Findings},
    rivals, subjects,
};

const HELP: &str = "\
Measures portcullis' circuit breaker beside those of other crates, in one run.

cargo run --release -p peers                 measures, prints, writes RESULTS.md: half a minute
cargo run --release -p peers -- --quick      a few seconds; prints only
cargo run --release -p peers -- --list       the subjects' names

Options:
  --rounds <n>                batches per subject
  --only <subject> --iters <n>
                              makes that many calls of one subject and measures nothing

Instructions per call: run one subject under callgrind at two lengths; the difference over the
difference in calls leaves out what starting costs.

  for n in 100000 200000; do
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \\
      target/release/peers --only recloser-call --iters $n 2>&1 | grep Collected
  done

Allocations alone: cargo run --release -p peers --bin allocations
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
    let subjects = subjects();
    if arguments.help {
        print!("{HELP}");
        return Ok(());
    }
    if arguments.list {
        subjects.iter().for_each(|subject| println!("{}", subject.name));
        return Ok(());
    }
    if let Some(name) = arguments.only {
        let subject = subjects.iter().find(|subject| subject.name == name);
        let subject = subject.ok_or_else(|| format!("no subject is called {name}; try --list"))?;
        (subject.make)()(arguments.iters.ok_or("--only needs --iters")?);
        return Ok(());
    }

    let mut plan = if arguments.quick { Plan::QUICK } else { Plan::FULL };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds);
    // The largest window takes one of the peers some ten seconds to fill.
    let mut sizes = vec![100, 1_000, 10_000, 100_000];
    if arguments.quick {
        sizes.truncate(3);
    }
    let mut series = ours::growth();
    series.extend(rivals::growth());

    let (costs, rounds) = measure::run(&subjects, plan);
    let curves = growth::run(&series, &sizes);
    let findings = Findings::new(rounds, costs, allocations(), sizes, curves).markdown();
    print!("{findings}");
    if !arguments.quick {
        fs::write(report::folder().join("RESULTS.md"), findings)?;
    }
    Ok(())
}

/// Asks the program that counts. Without an answer the report says so by leaving the column empty.
fn allocations() -> HashMap<String, f64> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "peers", "--bin", "allocations"])
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            let pair = |line: &str| {
                let (name, count) = line.split_once('\t')?;
                Some((name.to_owned(), count.parse().ok()?))
            };
            text.lines().filter_map(pair).collect()
        }
        _ => {
            eprintln!("allocations were not counted; --help has the command that does");
            HashMap::new()
        }
    }
}
