//! Positions of items: with *n* tasks, item *k* of the task at *h* has the position (*k* + 1) × *n* + *h*.

use super::Graph;
use crate::id::TaskIdx;

/// Items that one task may run for, at most.
pub const MAX_ITEMS: u32 = 10_000;

impl Graph {
    /// How many tasks there are: the positions below are theirs, those above belong to items.
    pub fn size(&self) -> TaskIdx {
        self.tasks.len() as TaskIdx
    }

    /// The position of the task that an item belongs to; of any other position itself.
    pub fn head(&self, idx: TaskIdx) -> TaskIdx {
        idx % self.size()
    }

    /// The map index of an item; `None` for the position of a task.
    pub fn item(&self, idx: TaskIdx) -> Option<u32> {
        (idx / self.size()).checked_sub(1)
    }

    /// The position of an item of a task.
    pub fn item_at(&self, head: TaskIdx, item: u32) -> TaskIdx {
        (item + 1) * self.size() + head
    }

    /// Name of the task run at a position, as people read it: `train`, `train[3]`.
    pub fn label(&self, idx: TaskIdx) -> String {
        let name = &self.task(idx).name;
        self.item(idx)
            .map_or_else(|| name.to_string(), |item| format!("{name}[{item}]"))
    }

    /// The same for folders, where brackets are read as patterns: `train`, `train.3`. No task has a dot in its name.
    pub fn place(&self, idx: TaskIdx) -> String {
        let name = &self.task(idx).name;
        self.item(idx)
            .map_or_else(|| name.to_string(), |item| format!("{name}.{item}"))
    }

    /// Position of the task run that a label names, whether or not it exists.
    pub fn find_label(&self, label: &str) -> Option<TaskIdx> {
        let Some((name, rest)) = label.split_once('[') else {
            return self.find(label);
        };
        let head = self
            .find(name)
            .filter(|head| self.task(*head).for_each.is_some())?;
        let item: u32 = rest.strip_suffix(']')?.parse().ok()?;
        (item < MAX_ITEMS).then(|| self.item_at(head, item))
    }
}
