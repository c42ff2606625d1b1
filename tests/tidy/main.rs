//! Holds the house: which crate may use which, that modules inside a crate form no cycle, and that product code takes
//! clock, randomness, tasks, sockets and files through the seams made for them.
//!
//! Always true
//! - The rules are checked on the parsed source, so text in comments and strings never counts.
//! - Code under `#[cfg(test)]` and under `tests/` is free.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ferrobase_tests::repository;
use syn::visit::Visit;

/// Crates by floor, ground floor first. A crate may use crates of lower floors only.
const FLOORS: &[&[&str]] = &[
    &["model", "runtime"],
    &["protocol", "filesystem"],
    &["storage", "coordination"],
    &["client"],
    &["regionserver", "master", "gateway", "bulkload"],
    &["cli"],
];

/// Downward imports that are forbidden all the same.
const FORBIDDEN: &[(&str, &str)] = &[("storage", "protocol"), ("client", "storage"), ("regionserver", "client")];

/// Paths that product code reaches only through the crates named beside them.
const SEAMS: &[(&str, &[&str])] = &[
    ("SystemTime::now", &["runtime"]),
    ("Instant::now", &["runtime"]),
    ("rand::rng", &["runtime"]),
    ("rand::random", &["runtime"]),
    ("tokio::spawn", &["runtime"]),
    ("tokio::task::spawn", &["runtime"]),
    ("task::spawn_blocking", &["runtime"]),
    ("thread::spawn", &["runtime"]),
    ("tokio::time", &["runtime"]),
    ("thread::sleep", &["runtime"]),
    ("std::net::TcpListener", &["runtime"]),
    ("std::net::TcpStream", &["runtime"]),
    ("std::net::UdpSocket", &["runtime"]),
    ("tokio::net", &["runtime"]),
    ("std::fs", &["runtime", "filesystem", "cli"]),
    ("tokio::fs", &["filesystem"]),
];

fn floor_of(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// The product crates that exist, with the folder of their sources.
fn crates() -> Vec<(&'static str, PathBuf)> {
    FLOORS
        .iter()
        .flat_map(|floor| floor.iter())
        .map(|name| {
            (*name, if *name == "cli" { repository().join("cli") } else { repository().join(name).join("src") })
        })
        .filter(|(_, folder)| folder.is_dir())
        .collect()
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "generated") {
                rust_files(&path, out);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            out.push(path);
        }
    }
}

/// Every path that a file mentions outside test code, segments joined by `::`.
#[derive(Default)]
struct Paths(Vec<String>);

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && {
                let mut found = false;
                let _ = attribute.parse_nested_meta(|meta| {
                    found |= meta.path.is_ident("test");
                    if meta.path.is_ident("any") || meta.path.is_ident("all") {
                        meta.parse_nested_meta(|inner| {
                            found |= inner.path.is_ident("test");
                            if inner.input.peek(syn::Token![=]) {
                                inner.value()?.parse::<syn::Lit>()?;
                            }
                            Ok(())
                        })?;
                    } else if meta.input.peek(syn::Token![=]) {
                        // cfg(feature = "testing") guards test support.
                        let value: syn::Lit = meta.value()?.parse()?;
                        found |= matches!(value, syn::Lit::Str(text) if text.value() == "testing");
                    }
                    Ok(())
                });
                found
            }
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            use_paths(&item.tree, String::new(), &mut self.0);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::"));
        syn::visit::visit_path(self, path);
    }
}

fn use_paths(tree: &syn::UseTree, before: String, out: &mut Vec<String>) {
    let join = |name: &str| if before.is_empty() { name.to_owned() } else { format!("{before}::{name}") };
    match tree {
        syn::UseTree::Path(path) => use_paths(&path.tree, join(&path.ident.to_string()), out),
        syn::UseTree::Name(name) => out.push(join(&name.ident.to_string())),
        syn::UseTree::Rename(rename) => out.push(join(&rename.ident.to_string())),
        syn::UseTree::Glob(_) => out.push(before),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| use_paths(item, before.clone(), out)),
    }
}

/// Files that are compiled only for tests: their `mod` line is guarded.
fn test_only_files(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut guarded = BTreeSet::new();
    for file in files {
        let parsed = parse(file);
        for item in &parsed.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                let stem = file.file_stem().expect("stem").to_string_lossy().into_owned();
                let folder = file.parent().expect("parent");
                let base =
                    if ["lib", "mod", "main"].contains(&stem.as_str()) { folder.to_owned() } else { folder.join(stem) };
                guarded.insert(base.join(format!("{}.rs", module.ident)));
                guarded.insert(base.join(module.ident.to_string()));
            }
        }
    }
    guarded
}

fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).expect("source file");
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn product_files(folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let mut files = Vec::new();
    rust_files(folder, &mut files);
    let guarded = test_only_files(&files);
    files
        .into_iter()
        .filter(|file| !file.ancestors().any(|part| guarded.contains(part)))
        .map(|file| {
            let parsed = parse(&file);
            let mut paths = Paths::default();
            paths.visit_file(&parsed);
            (file, paths.0)
        })
        .collect()
}

#[test]
fn crates_use_lower_floors_only() {
    let mut wrong = Vec::new();
    for (name, folder) in crates() {
        for (file, paths) in product_files(&folder) {
            for path in paths {
                let first = path.split("::").next().unwrap_or_default();
                let Some(used_floor) = floor_of(first) else { continue };
                // A module of the same name inside the crate is reached by a longer path or `crate::`.
                if first == name || folder.join(format!("{first}.rs")).exists() || folder.join(first).is_dir() {
                    continue;
                }
                if !path.contains("::") {
                    continue;
                }
                let upward = used_floor >= floor_of(name).expect("listed above");
                if upward || FORBIDDEN.contains(&(name, first)) {
                    wrong.push(format!("{}: `{path}`: {name} may not use {first}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up:\n{}", wrong.join("\n"));
}

#[test]
fn manifests_name_lower_floors_only() {
    let mut wrong = Vec::new();
    for (name, _) in crates() {
        let file =
            if name == "cli" { repository().join("Cargo.toml") } else { repository().join(name).join("Cargo.toml") };
        let manifest: toml::Table = std::fs::read_to_string(&file).expect("manifest").parse().expect("toml");
        for used in
            manifest.get("dependencies").and_then(|deps| deps.as_table()).into_iter().flat_map(|deps| deps.keys())
        {
            let Some(used_floor) = floor_of(used) else { continue };
            if used_floor >= floor_of(name).expect("listed above") || FORBIDDEN.contains(&(name, used.as_str())) {
                wrong.push(format!("{}: {name} may not depend on {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_form_no_cycle() {
    for (name, folder) in crates() {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, paths) in product_files(&folder) {
            let relative = file.strip_prefix(&folder).expect("inside");
            let first = relative.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            if module == "lib" || module == "main" {
                continue;
            }
            for path in paths {
                let mut parts = path.split("::");
                if parts.next() != Some("crate") {
                    continue;
                }
                let Some(used) = parts.next() else { continue };
                if used != module {
                    uses.entry(module.clone()).or_default().insert(used.to_owned());
                }
            }
        }
        if let Some(cycle) = find_cycle(&uses) {
            panic!("modules of {name} form a cycle: {}", cycle.join(" → "));
        }
    }
}

fn find_cycle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        at: &str,
        uses: &BTreeMap<String, BTreeSet<String>>,
        done: &mut BTreeSet<String>,
        trail: &mut Vec<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|name| name == at) {
            let mut cycle = trail[start..].to_vec();
            cycle.push(at.to_owned());
            return Some(cycle);
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let found = uses.get(at).into_iter().flatten().find_map(|used| walk(used, uses, done, trail));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|start| walk(start, uses, &mut done, &mut Vec::new()))
}

#[test]
fn product_code_uses_the_seams() {
    let mut wrong = Vec::new();
    for (name, folder) in crates() {
        for (file, paths) in product_files(&folder) {
            for path in paths {
                for (seam, allowed) in SEAMS {
                    let hit =
                        path == *seam || path.ends_with(&format!("::{seam}")) || path.starts_with(&format!("{seam}::"));
                    if hit && !allowed.contains(&name) {
                        wrong.push(format!("{}: `{path}` belongs in {}", file.display(), allowed.join(" or ")));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "seams passed by:\n{}", wrong.join("\n"));
}

#[test]
fn a_cycle_is_found() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let mut uses = BTreeMap::from([("a".to_owned(), set(&["b"])), ("b".to_owned(), set(&["c"]))]);
    assert!(find_cycle(&uses).is_none());
    uses.insert("c".to_owned(), set(&["a"]));
    assert_eq!(find_cycle(&uses).expect("cycle"), ["a", "b", "c", "a"]);
}

#[test]
fn test_code_is_left_alone_and_product_code_is_seen() {
    let source =
        "use std::fs::{self, File}; #[cfg(test)] mod tests { use tokio::spawn; } fn f() { tokio::spawn(g()); }";
    let mut paths = Paths::default();
    paths.visit_file(&syn::parse_file(source).expect("source"));
    assert!(paths.0.contains(&"std::fs::File".to_owned()));
    assert_eq!(paths.0.iter().filter(|path| path.contains("spawn")).count(), 1);
}
