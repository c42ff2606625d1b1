//! The tests can fail: each `*.patch` here plants a bug, and the test that it names must notice.
//!
//! A patch is read without line numbers. `# bug:` says what is wrong, `# test:` which `cargo test` must fail, `@@ path` begins a
//! replacement in a file: lines with `-` and ` ` are the text that must stand there exactly once, lines with `+` and ` ` the text in its place.
//!
//! Short form: the patches are well formed and nearly all still apply (code moves between two long runs). Long form,
//! `tests/run long planted [NAME]`: each is applied to a copy of the tree and its test run; the table for `docs/TESTING.md` is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use ferrobase_tests::repository;

/// Longest run of one test binary in seconds, for `timeout`; a bug may make it hang.
const LIMIT: &str = "300";

struct Replacement {
    path: String,
    old: String,
    new: String,
}

struct Planted {
    name: String,
    bug: String,
    test: Vec<String>,
    replacements: Vec<Replacement>,
}

fn parse(name: &str, text: &str) -> Planted {
    let mut planted = Planted { name: name.to_owned(), bug: String::new(), test: Vec::new(), replacements: Vec::new() };
    for line in text.lines() {
        if let Some(bug) = line.strip_prefix("# bug: ") {
            planted.bug = bug.to_owned();
        } else if let Some(test) = line.strip_prefix("# test: ") {
            planted.test = test.split_whitespace().map(str::to_owned).collect();
        } else if let Some(path) = line.strip_prefix("@@ ") {
            planted.replacements.push(Replacement { path: path.to_owned(), old: String::new(), new: String::new() });
        } else {
            let last = planted.replacements.last_mut().unwrap_or_else(|| panic!("{name}: `{line}` before any @@"));
            let (kind, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
            if kind != "+" {
                last.old.push_str(rest);
                last.old.push('\n');
            }
            if kind != "-" {
                last.new.push_str(rest);
                last.new.push('\n');
            }
            assert!(matches!(kind, "+" | "-" | " "), "{name}: `{line}`");
        }
    }
    assert!(!planted.bug.is_empty() && !planted.test.is_empty(), "{name}: names no bug or test");
    assert!(planted.replacements.iter().all(|r| r.old != r.new && !r.old.is_empty()), "{name}: replaces nothing");
    assert!(!planted.replacements.is_empty(), "{name}: replaces nothing");
    planted
}

fn all() -> Vec<Planted> {
    let entries = std::fs::read_dir(repository().join("tests/planted")).expect("the patches");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        parse(&name, &std::fs::read_to_string(path).expect("a patch"))
    };
    paths.iter().map(read).collect()
}

/// The files as they are with the bug; an error says what does not apply.
fn apply(planted: &Planted, tree: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut changed: BTreeMap<String, String> = BTreeMap::new();
    for Replacement { path, old, new } in &planted.replacements {
        let text = match changed.get(path) {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(tree.join(path)).map_err(|error| format!("{path}: {error}"))?,
        };
        match text.matches(old.as_str()).count() {
            1 => changed.insert(path.clone(), text.replacen(old.as_str(), new, 1)),
            n => return Err(format!("{path}: the text stands there {n} times:\n{old}")),
        };
    }
    Ok(changed)
}

#[test]
fn planted_bugs_are_well_formed_and_nearly_all_apply() {
    let planted = all();
    let rotten: Vec<_> = planted
        .iter()
        .filter_map(|one| apply(one, repository()).err().map(|why| format!("{}: {why}", one.name)))
        .collect();
    assert!(planted.len() >= 18, "{} bugs", planted.len());
    assert!(rotten.len() * 4 <= planted.len(), "too many patches no longer apply: {rotten:#?}");
}

/// Writes the file if it is not so already: cargo builds again what was written.
fn write(path: &Path, data: &[u8]) {
    if std::fs::read(path).is_ok_and(|there| there == data) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, data).expect("a file");
}

/// The working tree's tracked and new files, copied.
fn copy_tree(tree: &Path) {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git is there");
    assert!(listed.status.success(), "the planted bugs need a git checkout");
    let names: BTreeSet<String> =
        String::from_utf8(listed.stdout).expect("UTF-8").split('\0').map(str::to_owned).collect();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if let Ok(data) = std::fs::read(repository().join(name)) {
            write(&tree.join(name), &data);
        }
    }
}

enum Run {
    Passed,
    /// The tests that failed.
    Failed(Vec<String>),
    /// Nothing was tested.
    Broken(String),
}

/// Test binaries, and the folder that they run in.
struct Built {
    executables: Vec<String>,
    folder: PathBuf,
}

/// What cargo is asked to build, and what the binaries are asked to run.
fn halves(test: &[String]) -> (&[String], &[String]) {
    let at = test.iter().position(|one| one == "--").unwrap_or(test.len());
    (&test[..at], &test[(at + 1).min(test.len())..])
}

fn build(tree: &Path, target: &Path, arguments: &[String]) -> Result<Built, String> {
    let cargo = std::env::var("PLANTED_CARGO").unwrap_or_else(|_| env!("CARGO").to_owned());
    // Quick to build is what counts; the file names of the tests come as JSON.
    let built = Command::new(cargo)
        .args(["test", "--no-run", "--message-format=json"])
        .args(arguments)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .expect("cargo is there");
    let said = String::from_utf8_lossy(&built.stdout);
    if !built.status.success() {
        let errors = String::from_utf8_lossy(&built.stderr);
        let first: Vec<_> = said
            .lines()
            .chain(errors.lines())
            .filter(|line| line.contains("\"level\":\"error\"") || line.starts_with("error"))
            .take(3)
            .collect();
        return Err(format!("does not build: {}", first.join("\n")));
    }
    let tests: Vec<&str> = said.lines().filter(|line| line.contains("\"executable\":\"")).collect();
    let field = |line: &str, name: &str| {
        line.split_once(&format!("\"{name}\":\"")).and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned)
    };
    let manifest = tests.iter().find_map(|line| field(line, "manifest_path")).unwrap_or_default();
    let folder = Path::new(&manifest).parent().unwrap_or(tree).to_owned();
    Ok(Built { executables: tests.iter().filter_map(|line| field(line, "executable")).collect(), folder })
}

fn run(built: &Built, arguments: &[String]) -> Run {
    let (mut passed, mut failed) = (0, Vec::new());
    for executable in &built.executables {
        let output = Command::new("timeout")
            .args([LIMIT, executable])
            .args(arguments)
            .current_dir(&built.folder)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("timeout is there");
        let out = String::from_utf8_lossy(&output.stdout);
        // `test NAME ... FAILED`
        let names = out.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        failed.extend(names.map(str::to_owned));
        match output.status.code() {
            Some(0) => {
                let counts = out.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
                passed += counts.filter_map(|count| count.parse::<usize>().ok()).sum::<usize>();
            }
            Some(124) => failed.push("(hangs)".to_owned()),
            _ if failed.is_empty() => failed.push("(dies)".to_owned()),
            _ => {}
        }
    }
    match (failed.is_empty(), passed) {
        (false, _) => Run::Failed(failed),
        (true, 0) => Run::Broken("no test has this name".to_owned()),
        (true, _) => Run::Passed,
    }
}

#[test]
#[ignore = "builds crates once for each bug: tests/run long planted"]
fn every_planted_bug_is_caught() {
    let wanted = std::env::var("PLANTED").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|part| name.contains(part));
    // A target folder of its own: cargo takes equal packages of two workspaces for one.
    let folder =
        std::env::var("CARGO_TARGET_DIR").map_or_else(|_| repository().join("target"), PathBuf::from).join("planted");
    let (tree, target) = (folder.join("tree"), folder.join("target"));
    copy_tree(&tree);
    let planted: Vec<Planted> = all().into_iter().filter(|one| is_wanted(&one.name)).collect();
    let mut wrong = Vec::new();
    let mut tests: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for one in &planted {
        let (what, which) = halves(&one.test);
        tests.entry(what).or_default().insert(which);
    }
    for (what, which) in tests {
        let built = match build(&tree, &target, what) {
            Ok(built) => built,
            Err(why) => panic!("{}: {why}", what.join(" ")),
        };
        for which in which {
            match run(&built, which) {
                Run::Passed => {}
                Run::Failed(names) => wrong.push(format!("fails without a bug: {} {names:?}", what.join(" "))),
                Run::Broken(why) => wrong.push(format!("{} {}: {why}", what.join(" "), which.join(" "))),
            }
        }
    }
    eprintln!("| bug | patch | caught by |\n| --- | --- | --- |");
    for one in &planted {
        let changed = match apply(one, &tree) {
            Ok(changed) => changed,
            Err(why) => {
                wrong.push(format!("{}: does not apply: {why}", one.name));
                continue;
            }
        };
        let before: Vec<_> =
            changed.keys().map(|path| (path, std::fs::read(tree.join(path)).expect("just read"))).collect();
        changed.iter().for_each(|(path, text)| write(&tree.join(path), text.as_bytes()));
        let (what, which) = halves(&one.test);
        let run = build(&tree, &target, what).map_or_else(Run::Broken, |built| run(&built, which));
        before.iter().for_each(|(path, data)| write(&tree.join(path), data));
        match run {
            Run::Failed(names) => {
                let shown: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
                let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
                eprintln!("| {} | `{}` | {}{more} |", one.bug, one.name, shown.join(", "));
            }
            Run::Passed => {
                eprintln!("| {} | `{}` | NOTHING |", one.bug, one.name);
                wrong.push(format!("{}: not caught by {}: {}", one.name, one.test.join(" "), one.bug));
            }
            Run::Broken(why) => wrong.push(format!("{}: {why}", one.name)),
        }
    }
    assert!(!planted.is_empty(), "no bug has `{wanted}` in its name");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
