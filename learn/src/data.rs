//! Interactions of users with items: dense indices, time order, and a matrix view.

use std::sync::Arc;

/// One interaction, as it comes from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Identity of the user.
    pub user: i64,
    /// Identity of the item.
    pub item: i64,
    /// Strength (a rating, a progress share); models that learn from presence ignore it.
    pub value: f32,
    /// Unix time in seconds.
    pub ts: i64,
}

/// External ids in ascending order; the position is the dense index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    ids: Vec<i64>,
}

impl IdMap {
    /// Sorts and deduplicates.
    pub fn new(mut ids: Vec<i64>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self { ids }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The dense index of an id, if it is known.
    pub fn index(&self, id: i64) -> Option<u32> {
        self.ids.binary_search(&id).ok().map(|at| at as u32)
    }

    /// The id at a dense index. Panics where the index is out of range.
    pub fn id(&self, index: u32) -> i64 {
        self.ids[index as usize]
    }

    /// All ids, ascending.
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }
}

/// Events with dense indices, ordered by time, then user, then item: the same whatever order they came in.
///
/// Parts of one data set ([`Interactions::select`]) share the id maps, so that indices agree.
#[derive(Clone, Debug)]
pub struct Interactions {
    users: Arc<IdMap>,
    items: Arc<IdMap>,
    rows: Vec<Row>,
}

/// One interaction by dense indices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Index into [`Interactions::users`].
    pub user: u32,
    /// Index into [`Interactions::items`].
    pub item: u32,
    /// Strength.
    pub value: f32,
    /// Unix time in seconds.
    pub ts: i64,
}

impl Interactions {
    /// Indexes events; the id maps hold exactly the users and items that occur.
    pub fn from_events(events: &[Event]) -> Self {
        let users = Arc::new(IdMap::new(events.iter().map(|event| event.user).collect()));
        let items = Arc::new(IdMap::new(events.iter().map(|event| event.item).collect()));
        Self::with_maps(events, users, items)
    }

    /// Indexes events by given maps; events of unknown users or items are left out.
    pub fn with_maps(events: &[Event], users: Arc<IdMap>, items: Arc<IdMap>) -> Self {
        let index = |event: &Event| {
            let user = users.index(event.user)?;
            let item = items.index(event.item)?;
            Some(Row {
                user,
                item,
                value: event.value,
                ts: event.ts,
            })
        };
        let mut rows: Vec<Row> = events.iter().filter_map(index).collect();
        rows.sort_by(|a, b| {
            let key = |row: &Row| (row.ts, row.user, row.item);
            key(a).cmp(&key(b)).then(a.value.total_cmp(&b.value))
        });
        Self { users, items, rows }
    }

    /// The rows for which `keep(position, row)` holds, on the same id maps.
    pub fn select(&self, mut keep: impl FnMut(usize, &Row) -> bool) -> Self {
        let chosen = self.rows.iter().enumerate().filter(|(at, row)| keep(*at, row));
        let rows = chosen.map(|(_, row)| *row).collect();
        Self {
            users: self.users.clone(),
            items: self.items.clone(),
            rows,
        }
    }

    /// The same rows on maps that hold only the users and items that occur.
    pub fn compacted(&self) -> Self {
        Self::from_events(&self.events())
    }

    /// Back to external ids, in time order.
    pub fn events(&self) -> Vec<Event> {
        let event = |row: &Row| Event {
            user: self.users.id(row.user),
            item: self.items.id(row.item),
            value: row.value,
            ts: row.ts,
        };
        self.rows.iter().map(event).collect()
    }

    /// Rows in time order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Number of events, repeats included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All users of the data set, also those without a row in this part of it.
    pub fn users(&self) -> &Arc<IdMap> {
        &self.users
    }

    /// All items of the data set, also those without a row in this part of it.
    pub fn items(&self) -> &Arc<IdMap> {
        &self.items
    }

    /// Time of the last event.
    pub fn last_ts(&self) -> Option<i64> {
        self.rows.last().map(|row| row.ts)
    }

    /// Rows grouped by user, each group in time order.
    pub fn by_user(&self) -> Grouped {
        Grouped::new(self.users.len(), &self.rows)
    }

    /// How many different users each item has (an item's popularity), by item index.
    pub fn popularity(&self) -> Vec<u32> {
        let matrix = Csr::from_interactions(self);
        let mut counts = vec![0u32; self.items.len()];
        for item in &matrix.columns {
            counts[*item as usize] += 1;
        }
        counts
    }
}

/// Rows grouped by user index.
#[derive(Clone, Debug)]
pub struct Grouped {
    offsets: Vec<usize>,
    rows: Vec<Row>,
}

impl Grouped {
    fn new(users: usize, rows: &[Row]) -> Self {
        let mut offsets = vec![0usize; users + 1];
        for row in rows {
            offsets[row.user as usize + 1] += 1;
        }
        for user in 0..users {
            offsets[user + 1] += offsets[user];
        }
        let mut sorted = rows.to_vec();
        sorted.sort_by_key(|row| row.user);
        Self {
            offsets,
            rows: sorted,
        }
    }

    /// Number of users, those without rows included.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no user at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows of one user, in time order.
    pub fn of(&self, user: u32) -> &[Row] {
        &self.rows[self.offsets[user as usize]..self.offsets[user as usize + 1]]
    }
}

/// Presence matrix, users × items, without repeats: columns ascend within a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// `offsets[u]..offsets[u + 1]` are the entries of row `u`; length rows + 1.
    pub offsets: Vec<usize>,
    /// Column (item) indices.
    pub columns: Vec<u32>,
    /// Number of columns.
    pub width: usize,
}

impl Csr {
    /// The presence matrix of interactions.
    pub fn from_interactions(data: &Interactions) -> Self {
        let grouped = data.by_user();
        let mut offsets = vec![0];
        let mut columns = Vec::with_capacity(data.len());
        for user in 0..grouped.len() {
            let mut items: Vec<u32> = grouped.of(user as u32).iter().map(|row| row.item).collect();
            items.sort_unstable();
            items.dedup();
            columns.extend(items);
            offsets.push(columns.len());
        }
        Self {
            offsets,
            columns,
            width: data.items.len(),
        }
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The columns of one row, ascending.
    pub fn row(&self, row: u32) -> &[u32] {
        &self.columns[self.offsets[row as usize]..self.offsets[row as usize + 1]]
    }

    /// Items × users.
    pub fn transposed(&self) -> Self {
        let mut offsets = vec![0usize; self.width + 1];
        for column in &self.columns {
            offsets[*column as usize + 1] += 1;
        }
        for column in 0..self.width {
            offsets[column + 1] += offsets[column];
        }
        let mut next = offsets.clone();
        let mut columns = vec![0u32; self.columns.len()];
        for row in 0..self.height() as u32 {
            for column in self.row(row) {
                columns[next[*column as usize]] = row;
                next[*column as usize] += 1;
            }
        }
        Self {
            offsets,
            columns,
            width: self.height(),
        }
    }
}
