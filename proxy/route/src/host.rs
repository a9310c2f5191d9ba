//! The routes of one host, compiled: an exact map, ordered regexes and a longest-prefix index.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use foldhash::fast::FixedState;
use regex::bytes::{Regex, RegexBuilder};

use crate::{
    find::Head,
    matcher::{Candidate, Conditions, MAX_REGEX_BYTES, Precedence},
    route::Route,
    spec::{HostRoutes, PathMatch, RouteSpec},
    table::Refusal,
};

/// One unit: rebuilt whole when its spec changes, shared otherwise.
#[derive(Debug)]
pub struct Host {
    pub spec: Arc<HostRoutes>,
    pub routes: Box<[Route]>,
    pub refusals: Vec<Refusal>,
    exact: HashMap<Box<[u8]>, Vec<Candidate>, FixedState>,
    regexes: Vec<RegexPath>,
    prefixes: PrefixIndex,
}

#[derive(Debug)]
struct RegexPath {
    order: (Reverse<usize>, Precedence),
    regex: Regex,
    candidate: Candidate,
}

/// Prefixes in byte order, each with its longest proper prefix: the longest match of a path is its predecessor or an
/// ancestor of it, because everything between a prefix and the path begins with that prefix.
#[derive(Debug, Default)]
struct PrefixIndex {
    entries: Vec<PrefixEntry>,
}

#[derive(Debug)]
struct PrefixEntry {
    prefix: Box<[u8]>,
    parent: Option<u32>,
    candidates: Vec<Candidate>,
}

impl Host {
    pub(crate) fn compile(spec: &Arc<HostRoutes>) -> Self {
        let mut builder = Builder::default();
        for (position, route) in (0u32..).zip(&spec.routes) {
            builder.add(position, route, spec);
        }
        builder.finish(spec)
    }

    /// The first route in order of precedence that accepts the request: exact paths, then regular expressions (nginx
    /// asks them before prefixes), then prefixes from the longest.
    pub(crate) fn find(&self, head: &Head<'_>) -> Option<u32> {
        self.find_exact(head)
            .or_else(|| self.find_regex(head))
            .or_else(|| self.prefixes.find(head))
    }

    /// Whether the path and whether the conditions of one route accept a request, precedence aside. Walks every candidate:
    /// for explanations, not for requests.
    pub(crate) fn match_alone(&self, route: u32, head: &Head<'_>) -> (bool, bool) {
        let exact = self.exact.get(head.path).into_iter().flatten();
        let regexes = self.regexes.iter().filter(|r| r.regex.is_match(head.path));
        let prefixes = self.prefixes.entries.iter();
        let prefixes = prefixes.filter(|entry| head.path.starts_with(&entry.prefix));
        let mut candidates = exact
            .chain(regexes.map(|r| &r.candidate))
            .chain(prefixes.flat_map(|entry| &entry.candidates))
            .filter(|candidate| candidate.route == route);
        match candidates.next() {
            Some(candidate) => (true, candidate.accepts(head)),
            None => (false, false),
        }
    }

    fn find_exact(&self, head: &Head<'_>) -> Option<u32> {
        if self.exact.is_empty() {
            return None;
        }
        accepted(self.exact.get(head.path)?, head)
    }

    fn find_regex(&self, head: &Head<'_>) -> Option<u32> {
        self.regexes
            .iter()
            .find(|r| r.candidate.accepts(head) && r.regex.is_match(head.path))
            .map(|r| r.candidate.route)
    }
}

impl PrefixIndex {
    fn build(mut prefixes: Vec<(Box<[u8]>, Candidate)>) -> Self {
        prefixes.sort_by(|a, b| (&a.0, a.1.precedence).cmp(&(&b.0, b.1.precedence)));
        let mut entries: Vec<PrefixEntry> = Vec::new();
        let mut open: Vec<u32> = Vec::new();
        for (prefix, candidate) in prefixes {
            if let Some(last) = entries.last_mut().filter(|last| last.prefix == prefix) {
                last.candidates.push(candidate);
                continue;
            }
            while open
                .last()
                .is_some_and(|&i| !prefix.starts_with(&entries[i as usize].prefix))
            {
                open.pop();
            }
            let parent = open.last().copied();
            open.push(entries.len() as u32);
            entries.push(PrefixEntry {
                prefix,
                parent,
                candidates: vec![candidate],
            });
        }
        Self { entries }
    }

    fn find(&self, head: &Head<'_>) -> Option<u32> {
        let after = self
            .entries
            .partition_point(|entry| *entry.prefix <= *head.path);
        let mut at = after.checked_sub(1);
        while let Some(index) = at {
            let entry = &self.entries[index];
            if head.path.starts_with(&entry.prefix)
                && let Some(route) = accepted(&entry.candidates, head)
            {
                return Some(route);
            }
            at = entry.parent.map(|parent| parent as usize);
        }
        None
    }
}

#[derive(Default)]
struct Builder {
    routes: Vec<Route>,
    refusals: Vec<Refusal>,
    exact: HashMap<Box<[u8]>, Vec<Candidate>, FixedState>,
    regexes: Vec<RegexPath>,
    prefixes: Vec<(Box<[u8]>, Candidate)>,
}

impl Builder {
    fn add(&mut self, position: u32, spec: &RouteSpec, host: &HostRoutes) {
        let (mut route, mut fault) = Route::compile(spec);
        let conditions = Conditions::compile(&spec.matches).unwrap_or_else(|reason| {
            route = Route::denied(spec, reason.clone());
            fault = Some(reason);
            None
        });
        let candidate = Candidate {
            precedence: precedence(position, spec),
            route: position,
            conditions,
        };
        if let Err(reason) = self.add_path(&spec.matches.path, candidate) {
            route = Route::denied(spec, reason.clone());
            fault = Some(reason);
        }
        self.routes.push(route);
        if let Some(reason) = fault {
            self.refusals.push(Refusal {
                unit: format!("host {}/{} route {}", host.table, host.host, spec.id),
                reason,
            });
        }
    }

    fn add_path(&mut self, path: &PathMatch, candidate: Candidate) -> Result<(), String> {
        match path {
            PathMatch::Exact(path) => self.add_exact(path.as_bytes(), candidate),
            PathMatch::PlainPrefix(path) => self.prefixes.push((path.as_bytes().into(), candidate)),
            PathMatch::Prefix(path) => self.add_segment_prefix(path, candidate),
            PathMatch::Regex {
                pattern,
                case_insensitive,
            } => {
                let regex = match compile_regex(pattern, *case_insensitive) {
                    Ok(regex) => regex,
                    Err(reason) => {
                        // What cannot be matched precisely is denied around its literal beginning.
                        let literal = literal_prefix(pattern);
                        self.prefixes.push((literal.as_bytes().into(), candidate));
                        return Err(reason);
                    }
                };
                self.regexes.push(RegexPath {
                    order: (Reverse(pattern.len()), candidate.precedence),
                    regex,
                    candidate,
                });
            }
        }
        Ok(())
    }

    /// As nginx has it: `/foo` becomes the prefix `/foo/` and the path `/foo` itself.
    fn add_segment_prefix(&mut self, path: &str, mut candidate: Candidate) {
        let bare = path.trim_end_matches('/').as_bytes();
        self.prefixes
            .push(([bare, b"/"].concat().into(), candidate.clone()));
        if !bare.is_empty() {
            candidate.precedence.is_bare_prefix = true;
            self.add_exact(bare, candidate);
        }
    }

    fn add_exact(&mut self, path: &[u8], candidate: Candidate) {
        self.exact.entry(path.into()).or_default().push(candidate);
    }

    fn finish(mut self, spec: &Arc<HostRoutes>) -> Host {
        for candidates in self.exact.values_mut() {
            candidates.sort_by_key(|candidate| candidate.precedence);
        }
        self.regexes.sort_by_key(|regex| regex.order);
        Host {
            spec: spec.clone(),
            routes: self.routes.into(),
            refusals: self.refusals,
            exact: self.exact,
            regexes: self.regexes,
            prefixes: PrefixIndex::build(self.prefixes),
        }
    }
}

fn accepted(candidates: &[Candidate], head: &Head<'_>) -> Option<u32> {
    candidates
        .iter()
        .find(|candidate| candidate.accepts(head))
        .map(|candidate| candidate.route)
}

fn precedence(position: u32, spec: &RouteSpec) -> Precedence {
    Precedence {
        is_bare_prefix: false,
        has_method: Reverse(spec.matches.method.is_some()),
        headers: Reverse(spec.matches.headers.len()),
        query: Reverse(spec.matches.query.len()),
        rank: spec.rank,
        position,
    }
}

fn literal_prefix(pattern: &str) -> &str {
    let end = pattern
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '/' | '-' | '_'))
        .unwrap_or(pattern.len());
    &pattern[..end]
}

/// Anchored at the start only, as nginx's `location ~* "^<path>"`.
fn compile_regex(pattern: &str, case_insensitive: bool) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})"))
        .case_insensitive(case_insensitive)
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| format!("path expression {pattern:?}: {error}"))
}
