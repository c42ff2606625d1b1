//! README's first command, as written. (The second one is the command that runs this test.)

use std::process::{Command, Stdio};

use ferrobase_tests::repository;

#[test]
fn the_first_command_of_the_readme_shows_a_put_and_a_scan() {
    let root = repository();
    let readme = std::fs::read_to_string(root.join("README.md")).expect("a README");
    let commands: Vec<&str> =
        readme.split("```sh\n").skip(1).map(|block| block.split("```").next().expect("a block").trim()).collect();
    assert!(
        commands.len() == 2 && commands[1] == "tests/run short",
        "two commands, the second runs the tests: {commands:?}"
    );
    let data = tempfile::tempdir().expect("a folder");
    let run = || {
        let output = Command::new("bash")
            .args(["-c", commands[0]])
            .current_dir(root)
            .env("FERROBASE_DATA", data.path().join("data"))
            // The commands are the README's, the optimisation is not: it takes minutes and changes nothing that is looked at here.
            .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")])
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .stdin(Stdio::null())
            .output()
            .expect("bash starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let first = run();
    for part in
        ["create 'first'", "ROW", "COLUMN+CELL", "row1", "column=f:greeting", "value=hello", "2 row(s)", "Next: "]
    {
        assert!(first.contains(part), "`{part}` is missing in:\n{first}");
    }
    // And over the same folder once more: the table is there already.
    let second = run();
    assert!(!second.contains("create 'first'") && second.contains("2 row(s)"), "{second}");
}
