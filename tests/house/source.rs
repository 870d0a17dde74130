//! The source files, parsed.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `src/`.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Its module, as path segments: none for `lib.rs`.
    pub(crate) module: Vec<String>,
    /// It is compiled for tests only.
    pub(crate) is_test: bool,
    pub(crate) file: syn::File,
    text: String,
}

impl Source {
    /// The first segment of its module: `lib` and `main` for these two files.
    pub(crate) fn top(&self) -> &str {
        match self.module.first() {
            Some(first) => first,
            None => "lib",
        }
    }

    /// The path from the root of the project.
    pub(crate) fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    /// Its lines, without comments and without what is compiled for tests only.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        let mut tests = TestLines(Vec::new());
        tests.visit_file(&self.file);
        let lines = self.text.lines().enumerate();
        let lines = lines.filter(move |(at, _)| !tests.0.iter().any(|it| it.contains(&(at + 1))));
        lines.map(|(_, line)| line).filter(|line| !line.trim_start().starts_with("//"))
    }
}

/// Every file of `src/`.
pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let file =
                syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()));
            let file = file.unwrap();
            let module = module_of(&path);
            found.push(Source { path, module, is_test: false, file, text });
        }
    }
    let of_tests: BTreeSet<Vec<String>> = found.iter().flat_map(test_modules).collect();
    for source in &mut found {
        source.is_test =
            (0..=source.module.len()).any(|len| of_tests.contains(&source.module[..len]));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn module_of(path: &Path) -> Vec<String> {
    let relative = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut module: Vec<String> =
        relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The modules that a file declares for tests only, in files of their own.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let declared = source.file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some([&source.module[..], &[module.ident.to_string()]].concat())
        }
        _ => None,
    });
    declared.collect()
}

/// Returns whether one of these attributes is `#[cfg(test)]`, or `#[cfg(all(test, …))]`.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test ,")
        }
        _ => false,
    })
}

/// The attributes of an item of a module.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// The lines of what is compiled for tests only.
struct TestLines(Vec<RangeInclusive<usize>>);

impl TestLines {
    /// Returns whether something is for tests only; if so, its lines are noted.
    fn note(&mut self, attributes: &[Attribute], whole: &impl Spanned) -> bool {
        let is_noted = is_for_tests(attributes);
        if is_noted {
            let span = whole.span();
            self.0.push(span.start().line..=span.end().line);
        }
        is_noted
    }
}

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.note(attributes(item), item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.attrs, function);
    }
}
