//! Small dense numbers for names, so that tables and cores index instead of looking up.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use foldhash::fast::FixedState;

/// A number that belongs to one name for as long as anything holds it: a table, a route, a connection.
#[derive(Debug)]
pub(crate) struct Id {
    number: u32,
}

/// The numbers of one kind of name. One that nobody holds is given to the next name.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    known: HashMap<String, Known, FixedState>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Known {
    number: u32,
    id: Weak<Id>,
}

impl Id {
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Ids {
    pub fn id(&mut self, name: &str) -> Arc<Id> {
        if let Some(id) = self.known.get(name).and_then(|known| known.id.upgrade()) {
            return id;
        }
        let number = match self.known.get(name) {
            Some(known) => known.number,
            // Every number is either known or free.
            None => self.free.pop().unwrap_or(self.known.len() as u32),
        };
        let id = Arc::new(Id { number });
        let known = Known {
            number,
            id: Arc::downgrade(&id),
        };
        self.known.insert(name.to_owned(), known);
        id
    }

    /// Forgets names whose numbers nobody holds.
    pub fn sweep(&mut self) {
        let free = &mut self.free;
        self.known.retain(|_, known| {
            let is_held = known.id.strong_count() > 0;
            if !is_held {
                free.push(known.number);
            }
            is_held
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_takes_no_room() {
        let mut ids = Ids::default();
        let kept = ids.id("kept");
        for n in 0..1000 {
            let passing = ids.id(&format!("passing-{n}"));
            assert_eq!((kept.number(), passing.number()), (0, 1));
            drop(passing);
            ids.sweep();
        }
        assert_eq!(ids.known.len(), 1);
        assert_eq!(ids.id("kept").number(), kept.number());
    }

    #[test]
    fn a_number_has_one_owner_at_a_time() {
        let mut ids = Ids::default();
        let mut held: Vec<(String, Arc<Id>)> = Vec::new();
        for round in 0..200u32 {
            // Each name is held for a while of its own, some come back.
            let name = format!("name-{}", round * 7 % 30);
            let id = ids.id(&name);
            let other = held
                .iter()
                .find(|(n, i)| *n != name && i.number() == id.number());
            assert!(other.is_none(), "{name} got the number of {other:?}");
            held.push((name, id));
            if round % 3 == 0 {
                held.remove((round as usize * 13) % held.len());
            }
            if round % 5 == 0 {
                held.drain(..held.len() / 2);
                ids.sweep();
            }
        }
        let numbers = ids.known.len() + ids.free.len();
        assert!(numbers <= 30, "{numbers} numbers for 30 names");
    }
}
