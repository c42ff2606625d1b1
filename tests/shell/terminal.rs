//! A person at a terminal: prompt, errors that do not end the shell, Ctrl-C, history, columns as wide as the window.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ferrobase_tests::process::{Server, binary};

/// How long an expected text may take to appear.
const WAIT_MAX: Duration = Duration::from_secs(60);

struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn open(server: &Server, history: &std::path::Path, columns: u16) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: openpty writes two descriptors, which nobody else owns yet, and reads `size`; the null pointers are
        // allowed by it.
        let (master, slave) = unsafe {
            let done = libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size);
            assert_eq!(done, 0, "a pseudo terminal");
            (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        let stdio = || slave.try_clone().expect("another descriptor");
        let mut command = Command::new(binary());
        command
            .args(["shell", "--connect", &format!("127.0.0.1:{}", server.port)])
            .env("TERM", "xterm")
            .env("TZ", "UTC")
            .env("FERROBASE_HISTORY", history)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio());
        // SAFETY: between fork and exec only setsid and ioctl are called, which are allowed there.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("the shell starts");
        drop(command);
        drop(slave);
        let keys = File::from(master);
        let mut screen = keys.try_clone().expect("another descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of the shell is an error of the master side.
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, keys, output, seen: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys are taken");
    }

    /// Waits until the text appears behind what was seen before; what came before it.
    fn until(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + text.len());
                return before;
            }
            let left = WAIT_MAX.checked_sub(begun.elapsed()).unwrap_or_default();
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&plain(&bytes)),
                Err(error) => panic!("`{text}` does not come ({error}); seen:\n{}", self.seen),
            }
        }
    }

    /// Whether the text appears in that time.
    fn shows(&mut self, text: &str, time: Duration) -> bool {
        let begun = Instant::now();
        while !self.seen.contains(text) {
            let Some(left) = time.checked_sub(begun.elapsed()) else { return false };
            let Ok(bytes) = self.output.recv_timeout(left) else { return false };
            self.seen.push_str(&plain(&bytes));
        }
        true
    }

    fn end(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < WAIT_MAX, "the shell does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A signal that stops a process takes a moment to reach all of its threads.
fn wait_until_stopped(process: i32) {
    let begun = Instant::now();
    let stopped = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default();
        // The state stands behind the name, which may hold anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    while !std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads").all(stopped) {
        assert!(begun.elapsed() < WAIT_MAX, "the server does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Text without carriage returns and the sequences that move the cursor.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    characters.by_ref().find(|c| c.is_ascii_alphabetic() || *c == '~');
                }
            }
            '\r' => {}
            other => out.push(other),
        }
    }
    out
}

#[test]
fn a_person_may_err_cancel_and_go_on() {
    let data = tempfile::tempdir().expect("a folder");
    let history = data.path().join("history");
    let server = Server::start(&data.path().join("data"), &[]);
    let mut terminal = Terminal::open(&server, &history, 60);
    terminal.until("ferrobase:001> ");
    terminal.press("t = create 'people', 'f'\r");
    terminal.until("Created table people\n");
    terminal.until(" seconds\n=> Hbase::Table - people\n");
    terminal.until("ferrobase:002> ");
    // An error is said and the shell goes on.
    terminal.press("scan 'nope'\r");
    terminal.until("\nERROR: Unknown table nope!\n\nFor usage try 'help \"scan\"'\n\nTook ");
    terminal.press("lst\r");
    terminal.until("ERROR: line 1, column 1: unknown command or variable `lst`; did you mean `list`?");
    // A statement over two lines.
    terminal.press("t.put 'r1',\r");
    terminal.until("* ");
    terminal.press("  'f:q', 'v', 1700000000000\r");
    terminal.until("Took ");
    // Columns share the window: a quarter for the row.
    terminal.press("t.scan\r");
    terminal.until("ROW              COLUMN+CELL\n r1              column=f:q, timestamp=2023-11-14T22:13:20,\n");
    terminal.until("                 value=v\n1 row(s)\n");
    // Ctrl-C at the prompt empties the line, ...
    terminal.until("> ");
    terminal.press("garbage\u{3}");
    terminal.until("> ");
    // ... and cancels a command that runs, here because the server does not answer.
    let stopped = i32::try_from(server.pid()).expect("an id");
    // SAFETY: kill(2) touches no memory; the server is ours and has not been waited for.
    unsafe { libc::kill(stopped, libc::SIGSTOP) };
    wait_until_stopped(stopped);
    terminal.press("t.count\r");
    terminal.until("t.count\n");
    // A key pressed before the line has left the editor is the editor's, so one may not be enough.
    let begun = Instant::now();
    while !terminal.shows("ERROR: interrupted\n", Duration::from_millis(500)) && begun.elapsed() < WAIT_MAX {
        terminal.press("\u{3}");
    }
    terminal.until("ERROR: interrupted\n");
    // SAFETY: as above.
    unsafe { libc::kill(stopped, libc::SIGCONT) };
    terminal.until("> ");
    terminal.press("t.count\r");
    terminal.until("1 row(s)\n");
    terminal.until("=> 1\n");
    // Completion.
    terminal.until("> ");
    terminal.press("list_namespace_t\t 'default'\r");
    terminal.until("=> [\"people\"]\n");
    terminal.until("> ");
    terminal.press("exit 3\r");
    assert_eq!(terminal.end(), Some(3));
    let kept = std::fs::read_to_string(&history).expect("a history");
    assert!(kept.contains("t = create 'people', 'f'") && kept.contains("list_namespace_tables 'default'"), "{kept}");
    assert!(!kept.contains("garbage"), "{kept}");
}

/// Lines that come in one piece, from a terminal that does not mark what is pasted, all run.
#[test]
fn lines_that_come_at_once_all_run() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(&data.path().join("data"), &[]);
    let mut terminal = Terminal::open(&server, &data.path().join("history"), 120);
    terminal.until("ferrobase:001> ");
    terminal.press("create 'pasted', 'f'\r");
    terminal.until("Created table pasted\n");
    terminal.until("ferrobase:002> ");
    let lines: Vec<String> = (0..30).map(|n| format!("put 'pasted', 'r{n:02}', 'f:q', 'v'\r")).collect();
    terminal.press(&lines.concat());
    terminal.until("ferrobase:032> ");
    terminal.press("count 'pasted'\r");
    terminal.until("30 row(s)");
    terminal.press("exit\r");
    assert_eq!(terminal.end(), Some(0));
}
