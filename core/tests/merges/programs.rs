//! Random programs of edits, syncs, restarts and compactions against the model.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::bed::{Bed, SITES};
use crate::trial::{Trial, site_name};

const PROGRAMS: u32 = 1_500;
const STEPS_MAX: usize = 24;

/// `~` is a path, `$` the number of the step, `%` a character of its own.
const EDITS: [&str; 24] = [
    "put ~ \"v$\"",
    "put ~ $",
    "put ~ 2.5",
    "put ~ {}",
    "put ~ {\"x\":\"v$\"}",
    "put ~ [\"e$\",\"f$\"]",
    "put ~ []",
    "remove ~",
    "remove ~",
    "increment ~ 2",
    "adjust ~ -3",
    "set_add ~ \"m\"",
    "set_add ~ \"v$\"",
    "set_remove ~ \"m\"",
    "append ~ \"e$\"",
    "append ~ {\"y\":\"e$\"}",
    "insert ~/0 \"e$\"",
    "splice ~ 0 0 %",
    "splice ~ 1 0 %",
    "splice ~ 0 1",
    "put ~ \"%\"",
    "PUT {}",
    "PUT {\"a\":{\"x\":$}}",
    "DELETE",
];
const PATHS: [&str; 9] = [
    "/a", "/a", "/a", "/b", "/a/x", "/a/x", "/a/0", "/a/1", "/a/x/y",
];

#[derive(Clone, Debug)]
enum Step {
    Edit(usize, &'static str, &'static str),
    Sync(usize, usize),
    Compact(usize),
    Restart(usize),
}

fn text(number: usize, edit: &str, path: &str) -> String {
    let character = char::from_u32(0x4e00 + u32::try_from(number).unwrap_or(0)).unwrap_or('?');
    let edit = edit.replace('~', path).replace('$', &number.to_string());
    edit.replace('%', &character.to_string())
}

fn program() -> impl Strategy<Value = Vec<Step>> {
    let site = 0..SITES;
    let step = prop_oneof![
        12 => (site.clone(), select(&EDITS[..]), select(&PATHS[..])).prop_map(|(site, edit, path)| Step::Edit(site, edit, path)),
        4 => select(&[(0, 1), (1, 2), (0, 2)][..]).prop_map(|(a, b)| Step::Sync(a, b)),
        1 => site.clone().prop_map(Step::Compact),
        1 => site.prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..STEPS_MAX)
}

fn run(program: &[Step]) -> Result<(), TestCaseError> {
    let mut bed = Bed::new();
    let mut trial = Trial::new("d", "program");
    for (number, step) in program.iter().enumerate() {
        match step {
            Step::Edit(site, edit, path) => trial.edit(&mut bed, *site, &text(number, edit, path)),
            Step::Sync(a, b) => {
                bed.sync(*a, *b);
                trial.synced(*a, *b);
                trial.agree(&mut bed, &[*a, *b]);
            }
            Step::Compact(site) => {
                trial.note(format!("{} compacts", site_name(*site)));
                bed.compact(*site);
                trial.look(&mut bed, *site);
            }
            Step::Restart(site) => {
                trial.note(format!("{} restarts", site_name(*site)));
                bed.restart(*site);
                trial.look(&mut bed, *site);
            }
        }
        if trial.failure.is_some() {
            return Err(TestCaseError::fail(trial.to_string()));
        }
    }
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        bed.sync(a, b);
        trial.synced(a, b);
    }
    for site in 0..SITES {
        bed.compact(site);
        bed.restart(site);
    }
    trial.agree(&mut bed, &[0, 1, 2]);
    trial
        .failure
        .is_none()
        .then_some(())
        .ok_or_else(|| TestCaseError::fail(trial.to_string()))
}

#[test]
fn random_programs_end_as_the_model_says() {
    let config = Config {
        cases: PROGRAMS,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&program(), |program| run(&program)) {
        Ok(()) => {}
        Err(TestError::Fail(why, program)) => {
            let why = run(&program).err().unwrap_or(TestCaseError::Fail(why));
            panic!("a program differs from the model:\n{why}");
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
