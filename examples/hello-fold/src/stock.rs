//! A warehouse of anything that can be counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};

pub struct Stock<T> {
    shelves: HashMap<String, Vec<T>>,
    sold: BTreeMap<String, T>,
}

impl<T: Copy + Ord + Default + Debug + Display> Stock<T> {
    pub fn new() -> Self {
        Stock {
            shelves: HashMap::new(),
            sold: BTreeMap::new(),
        }
    }

    #[inline(never)]
    pub fn put(&mut self, name: &str, things: &[T]) {
        self.shelves
            .entry(name.to_string())
            .or_default()
            .extend_from_slice(things);
    }

    /// The largest goes first.
    #[inline(never)]
    pub fn take(&mut self, name: &str) -> Option<T> {
        let shelf = self.shelves.get_mut(name)?;
        shelf.sort_unstable();
        let best = shelf.pop()?;
        let record = self.sold.entry(name.to_string()).or_default();
        *record = best.max(*record);
        Some(best)
    }

    #[inline(never)]
    pub fn describe(&self) -> String {
        let mut names: Vec<_> = self.shelves.iter().collect();
        names.sort();
        let mut text = String::new();
        for (name, things) in names {
            text += &format!("{name}: {} left {things:?}, best {}; ", things.len(), self.sold[name]);
        }
        text
    }
}

#[inline(never)]
pub fn sell<T: Copy + Ord + Default + Debug + Display>(name: &str, things: &[T], lines: &mut Vec<String>) {
    let mut stock = Stock::new();
    stock.put(name, things);
    stock.put("odds and ends", &things[1..]);
    stock.take(name);
    stock.take("odds and ends");
    lines.push(stock.describe());
}
