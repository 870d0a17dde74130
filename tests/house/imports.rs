//! The imports between files.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

use crate::source::{Source, attributes, is_for_tests};

/// The meaning of a name in a module.
enum Binding {
    /// Something that the module's own file defines.
    Defined,
    /// Something from elsewhere: `use` says from where.
    Path(Vec<String>),
}

/// The modules of the crate that have files of their own.
struct Modules<'a> {
    files: BTreeMap<&'a [String], &'a Source>,
    bindings: BTreeMap<&'a [String], BTreeMap<String, Binding>>,
}

/// The files that each file takes something from, with the names of what it takes.
pub(crate) fn imports(sources: &[Source]) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let sources: Vec<&Source> =
        sources.iter().filter(|it| !it.is_test && it.module != ["main"]).collect();
    let files = sources.iter().map(|it| (&it.module[..], *it)).collect();
    let bindings = sources.iter().map(|it| (&it.module[..], bindings(it))).collect();
    let modules = Modules { files, bindings };
    let mut found = BTreeMap::new();
    for source in &sources {
        let mut mentioned = Mentioned(Vec::new());
        mentioned.visit_file(&source.file);
        let imported: &mut BTreeMap<String, BTreeSet<String>> =
            found.entry(source.name()).or_default();
        for path in mentioned.0 {
            if let Some(file) = modules.resolve(&source.module, &path, 0)
                && file.module != source.module
            {
                imported.entry(file.name()).or_default().insert(path.join("::"));
            }
        }
    }
    found
}

fn bindings(source: &Source) -> BTreeMap<String, Binding> {
    let mut names = BTreeMap::new();
    for item in &source.file.items {
        if is_for_tests(attributes(item)) {
            continue;
        }
        let defined = match item {
            Item::Const(it) => &it.ident,
            Item::Enum(it) => &it.ident,
            Item::Fn(it) => &it.sig.ident,
            Item::Static(it) => &it.ident,
            Item::Struct(it) => &it.ident,
            Item::Trait(it) => &it.ident,
            Item::Type(it) => &it.ident,
            Item::Use(it) => {
                let leaves = leaves(&it.tree, Vec::new());
                names.extend(leaves.into_iter().map(|(name, path)| (name, Binding::Path(path))));
                continue;
            }
            _ => continue,
        };
        names.insert(defined.to_string(), Binding::Defined);
    }
    names
}

/// The names that a `use` brings in, each with its path. A glob has none.
fn leaves(tree: &UseTree, mut before: Vec<String>) -> Vec<(String, Vec<String>)> {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before)
        }
        UseTree::Group(group) => {
            group.items.iter().flat_map(|tree| leaves(tree, before.clone())).collect()
        }
        UseTree::Name(name) if name.ident == "self" => {
            before.last().cloned().map(|last| (last, before)).into_iter().collect()
        }
        UseTree::Name(name) => {
            before.push(name.ident.to_string());
            vec![(name.ident.to_string(), before)]
        }
        UseTree::Rename(renamed) => {
            before.push(renamed.ident.to_string());
            vec![(renamed.rename.to_string(), before)]
        }
        UseTree::Glob(_) => Vec::new(),
    }
}

impl<'a> Modules<'a> {
    /// The file that defines what a path leads to from a module; `None` if it leads out of the
    /// crate, or to a module rather than to something in one.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<&'a Source> {
        // A name can be handed on from module to module, but not for ever.
        if depth > 16 {
            return None;
        }
        let mut module = from.to_vec();
        for (at, segment) in path.iter().enumerate() {
            match segment.as_str() {
                "crate" if at == 0 => module.clear(),
                "self" if at == 0 => {}
                "super" => drop(module.pop()),
                name => {
                    let child = [&module[..], &[name.to_owned()]].concat();
                    if self.files.contains_key(&child[..]) {
                        module = child;
                        continue;
                    }
                    return match self.bindings.get(&module[..])?.get(name)? {
                        Binding::Defined => self.files.get(&module[..]).copied(),
                        Binding::Path(whole) => {
                            let whole = [&whole[..], &path[at + 1..]].concat();
                            self.resolve(&module, &whole, depth + 1)
                        }
                    };
                }
            }
        }
        None
    }
}

/// The paths that a file mentions, but for those that it only hands on.
struct Mentioned(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Mentioned {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            self.0.extend(leaves(&item.tree, Vec::new()).into_iter().map(|(_, path)| path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|it| it.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// Finds paths among a macro's tokens, which are not parsed.
    fn visit_macro(&mut self, given: &'ast syn::Macro) {
        self.paths_of(given.tokens.clone());
    }
}

impl Mentioned {
    fn paths_of(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.paths_of(group.stream()),
                TokenTree::Ident(name) => {
                    self.end(&mut path);
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            self.end(&mut path);
            colons = 0;
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.0.push(path);
        }
    }
}

/// The groups of files each of which leads to all others of its group.
pub(crate) fn cycles(
    imports: &BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (&**file, reachable(imports, file))).collect();
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for (file, there) in &reached {
        if there.contains(file) && !found.iter().any(|cycle| cycle.contains(file)) {
            found.push(there.iter().filter(|it| reached[**it].contains(file)).copied().collect());
        }
    }
    found
}

/// The files that one leads to, itself only if a way leads back.
fn reachable<'a>(
    imports: &'a BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    from: &str,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = imports[from].keys().map(|it| &**it).collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(imports[file].keys().map(|it| &**it));
        }
    }
    reached
}
