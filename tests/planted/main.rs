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

/// Longest run of one test in seconds, for `timeout`; a bug may make it hang.
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
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
    let entries = std::fs::read_dir(root().join("tests/planted")).expect("the patches");
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
    let rotten: Vec<_> =
        planted.iter().filter_map(|one| apply(one, &root()).err().map(|why| format!("{}: {why}", one.name))).collect();
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
        .current_dir(root())
        .output()
        .expect("git is there");
    assert!(listed.status.success(), "the planted bugs need a git checkout");
    let names: BTreeSet<String> =
        String::from_utf8(listed.stdout).expect("UTF-8").split('\0').map(str::to_owned).collect();
    for name in names.iter().filter(|name| !name.is_empty()) {
        if let Ok(data) = std::fs::read(root().join(name)) {
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

fn test(tree: &Path, target: &Path, arguments: &[String]) -> Run {
    let cargo = std::env::var("PLANTED_CARGO").unwrap_or_else(|_| env!("CARGO").to_owned());
    let run = |command: &str, more: &[&str]| {
        let mut command = Command::new(command);
        command.args(more).current_dir(tree).env("CARGO_TARGET_DIR", target).env("RUST_BACKTRACE", "0");
        command.output().expect("timeout and cargo are there")
    };
    let build = arguments.iter().map(String::as_str).take_while(|argument| *argument != "--");
    run(&cargo, &["test", "--quiet", "--no-run"].into_iter().chain(build).collect::<Vec<_>>());
    let whole = arguments.iter().map(String::as_str);
    let output = run(
        "timeout",
        &[LIMIT, &cargo, "test", "--quiet", "--no-fail-fast"].into_iter().chain(whole).collect::<Vec<_>>(),
    );
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let tail = || errors.lines().chain(out.lines()).filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    if output.status.code() == Some(124) {
        return Run::Failed(vec!["(hangs)".to_owned()]);
    }
    if errors.contains("could not compile") {
        let lines = tail();
        return Run::Broken(format!("does not compile: {}", lines[..lines.len().min(12)].join("\n")));
    }
    let passed: usize = out
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<usize>().ok())
        .sum();
    if output.status.success() {
        return if passed > 0 { Run::Passed } else { Run::Broken("no test has this name".to_owned()) };
    }
    // The list of failures at the end: four blanks and a name.
    let mut failed: Vec<String> = Vec::new();
    for line in out.lines() {
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b));
        if let Some(name) = line.strip_prefix("    ").filter(is_name)
            && !failed.iter().any(|other| other == name)
        {
            failed.push(name.to_owned());
        }
    }
    if failed.is_empty() {
        let lines = tail();
        return Run::Broken(lines[lines.len().saturating_sub(12)..].join("\n"));
    }
    Run::Failed(failed)
}

#[test]
#[ignore = "builds crates once for each bug: tests/run long planted"]
fn every_planted_bug_is_caught() {
    let wanted = std::env::var("PLANTED").unwrap_or_default();
    let is_wanted = |name: &str| wanted.split(',').any(|part| name.contains(part));
    // A target folder of its own: cargo takes equal packages of two workspaces for one.
    let folder =
        std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from).join("planted");
    let (tree, target) = (folder.join("tree"), folder.join("target"));
    copy_tree(&tree);
    let planted: Vec<Planted> = all().into_iter().filter(|one| is_wanted(&one.name)).collect();
    let mut wrong = Vec::new();
    let tests: BTreeSet<&Vec<String>> = planted.iter().map(|one| &one.test).collect();
    for arguments in tests {
        match test(&tree, &target, arguments) {
            Run::Passed => {}
            Run::Failed(names) => wrong.push(format!("fails without a bug: {}: {names:?}", arguments.join(" "))),
            Run::Broken(why) => wrong.push(format!("{}: {why}", arguments.join(" "))),
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
        let run = test(&tree, &target, &one.test);
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
