//! Hundreds of hostile components, generated from a seed by a grammar over the files in `wit/`.
//!
//! No component can end the agent, raise its memory above the limits, or make the sink beside it
//! lose samples, and `check` refuses exactly what the running agent refuses. `NEPHOMETER_TEST_SEED`
//! sets the seed, `NEPHOMETER_TEST_CASE` runs only one case of it, and `NEPHOMETER_TEST_SECONDS`
//! adds further seeds until the time is over.

mod acts;
mod batch;
mod case;
mod chance;
mod contract;
mod extras;
mod guest;
mod names;
mod sections;
mod shape;
mod value;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::scaled;
use batch::Outcome;
use case::{Case, Generator};

/// The default seed.
const SEED: u64 = 17;
/// Hostile sinks of one agent.
const SINKS: usize = 25;
/// One batch in this many contains publishers.
const PUBLISHERS: usize = 8;
/// Agents that run at the same time.
const AGENTS: usize = 2;

#[test]
fn generated_components_never_harm_the_agent() {
    let seed: u64 = number("NEPHOMETER_TEST_SEED").unwrap_or(SEED);
    if let Some(number) = number::<usize>("NEPHOMETER_TEST_CASE") {
        let case = case(&Generator::new(seed), number);
        println!("seed {seed}, case {number}: {}", case.what);
        println!("{:?}", attempt(&[case]).unwrap());
        return;
    }
    let begun = Instant::now();
    let seconds = number("NEPHOMETER_TEST_SECONDS").map(Duration::from_secs);
    let mut next = seed;
    loop {
        cases(next, scaled(200, 2_000));
        next = next.wrapping_add(1);
        if seconds.is_none_or(|seconds| begun.elapsed() >= seconds) {
            return;
        }
    }
}

// The base of all cases must be valid, or all of them are refused for the same reason.
#[test]
fn valid_generated_component_is_accepted() {
    let generator = Generator::new(SEED);
    for publishes in [false, true] {
        let cases = generator.good_cases(publishes);
        let outcome = batch::run(&cases).unwrap();
        assert_eq!((outcome.refused, outcome.accepted), (0, cases.len()), "{outcome:?}");
    }
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: it is a number")))
}

fn case(generator: &Generator, number: usize) -> Case {
    generator.case(number, number / SINKS % PUBLISHERS == PUBLISHERS - 1)
}

/// Runs a batch; a panic, such as that of a timeout, is a failure like any other.
fn attempt(batch: &[Case]) -> Result<Outcome, String> {
    catch_unwind(AssertUnwindSafe(|| batch::run(batch))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Err(text[..text.floor_char_boundary(4_000)].to_owned())
    })
}

/// Runs this many cases of a seed.
fn cases(seed: u64, count: usize) {
    let generator = Generator::new(seed);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut total, mut failures) = (Outcome::default(), Vec::new());
        loop {
            let from = SINKS * next.fetch_add(1, Relaxed);
            if from >= count {
                return (total, failures);
            }
            let until = (from + SINKS).min(count);
            let batch: Vec<Case> = (from..until).map(|nth| case(&generator, nth)).collect();
            match attempt(&batch) {
                Ok(outcome) => total.add(&outcome),
                Err(reason) => {
                    println!("seed {seed}, {}...: {reason}", batch[0].name);
                    let report = alone(seed, &batch);
                    println!("{report}");
                    failures.push(report);
                }
            }
        }
    };
    let (mut total, mut failures) = (Outcome::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AGENTS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (outcome, mut failed) = worker.join().expect("it reports by its result");
            total.add(&outcome);
            failures.append(&mut failed);
        }
    });
    println!("seed {seed}: {count} cases, {total:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // If all components were refused, or all were harmless, the generator would test nothing.
    assert!(total.refused > count / 10 && total.accepted > count / 4, "{total:?}");
    assert!(total.failed > count / 20, "{total:?}");
}

/// Reports the cases of a batch that fail alone, and keeps their files.
fn alone(seed: u64, batch: &[Case]) -> String {
    let mut report = String::new();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&kept).unwrap();
    let mut guilty = 0;
    for case in batch {
        let Err(reason) = attempt(std::slice::from_ref(case)) else { continue };
        let file = kept.join(format!("seed-{seed}-{}.wasm", case.name));
        fs::write(&file, &case.bytes).unwrap();
        guilty += 1;
        report += &format!(
            "== NEPHOMETER_TEST_SEED={seed} NEPHOMETER_TEST_CASE={}, {}\n{}\n{reason}\n",
            case.number,
            file.display(),
            case.what
        );
    }
    if guilty == 0 {
        report += "no case of these fails by itself\n";
        for case in batch {
            let file = kept.join(format!("seed-{seed}-{}.wasm", case.name));
            fs::write(&file, &case.bytes).unwrap();
            report += &format!("{}: {}\n", file.display(), case.what);
        }
    }
    report
}
