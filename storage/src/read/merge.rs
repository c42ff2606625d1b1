//! Many sources as one, in one order, up to one read point.

use std::cmp::Ordering;

use model::{Cell, CellOrder, CellRef, SeqNo};

use crate::error::Result;
use crate::source::{CellSource, Progress};

/// A heap of sources. Cells with a larger sequence number than the read point do not exist here.
/// Among equal cells those of the source that was handed in first come first.
pub struct Merge {
    sources: Vec<Box<dyn CellSource>>,
    /// Indexes of the sources that have a cell, as a binary heap: the smallest cell first.
    heap: Vec<usize>,
    order: CellOrder,
    read_point: SeqNo,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("sources", &self.sources.len()).field("top", &self.peek()).finish()
    }
}

impl Merge {
    /// Stands nowhere: seek first.
    pub fn new(sources: Vec<Box<dyn CellSource>>, order: CellOrder, read_point: SeqNo) -> Merge {
        Merge { heap: Vec::with_capacity(sources.len()), sources, order, read_point }
    }

    /// The order of the cells.
    pub fn order(&self) -> CellOrder {
        self.order
    }

    /// The cell at the position.
    pub fn peek(&self) -> Option<CellRef<'_>> {
        self.sources[*self.heap.first()?].peek()
    }

    /// The cell at the position, shared.
    pub fn cell(&self) -> Option<Cell> {
        self.sources[*self.heap.first()?].cell()
    }

    fn less(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a], self.heap[b]);
        let (Some(left), Some(right)) = (self.sources[a].peek(), self.sources[b].peek()) else {
            return self.sources[a].peek().is_some();
        };
        match self.order.compare(left, right) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => a < b,
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.heap.len() {
                return;
            }
            let child = if right < self.heap.len() && self.less(right, left) { right } else { left };
            if !self.less(child, at) {
                return;
            }
            self.heap.swap(at, child);
            at = child;
        }
    }

    /// The first source of the heap has moved: puts it where it belongs.
    fn place_root(&mut self) {
        if let Some(root) = self.heap.first()
            && self.sources[*root].peek().is_none()
        {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
    }

    fn settle(&mut self) -> Result<Progress> {
        loop {
            self.place_root();
            let Some(root) = self.heap.first().copied() else { return Ok(Progress::Ready) };
            let visible = self.sources[root].peek().is_none_or(|cell| cell.seqno() <= self.read_point);
            if visible {
                return Ok(Progress::Ready);
            }
            if self.sources[root].advance()? == Progress::NeedsBlock {
                return Ok(Progress::NeedsBlock);
            }
        }
    }

    /// Goes to the next cell. After [`Progress::NeedsBlock`] await [`Merge::finish`].
    pub fn advance(&mut self) -> Result<Progress> {
        let Some(root) = self.heap.first().copied() else { return Ok(Progress::Ready) };
        if self.sources[root].advance()? == Progress::NeedsBlock {
            return Ok(Progress::NeedsBlock);
        }
        self.settle()
    }

    /// Loads what [`Merge::advance`] needed and finishes it.
    pub async fn finish(&mut self) -> Result<()> {
        while let Some(root) = self.heap.first().copied() {
            self.sources[root].load().await?;
            if self.settle()? == Progress::Ready {
                break;
            }
        }
        Ok(())
    }

    async fn settle_loading(&mut self) -> Result<()> {
        match self.settle()? {
            Progress::Ready => Ok(()),
            Progress::NeedsBlock => self.finish().await,
        }
    }

    /// Goes to the first cell at or behind the key, from anywhere.
    pub async fn seek(&mut self, key: &Cell) -> Result<()> {
        self.heap.clear();
        for at in 0..self.sources.len() {
            let source = &mut self.sources[at];
            if source.seek(key)? == Progress::NeedsBlock {
                source.load().await?;
            }
            if source.peek().is_some() {
                self.heap.push(at);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        self.settle_loading().await
    }

    /// Goes forward to the first cell at or behind the key; stays if it is there already.
    pub async fn reseek(&mut self, key: &Cell) -> Result<()> {
        while let Some(root) = self.heap.first().copied() {
            let source = &mut self.sources[root];
            if source.peek().is_none_or(|cell| self.order.compare(cell, key.as_ref()).is_ge()) {
                break;
            }
            if source.reseek(key)? == Progress::NeedsBlock {
                source.load().await?;
            }
            self.place_root();
        }
        self.settle_loading().await
    }

    /// Goes to the first visible cell of the last row before `row` that has one; `None` stands for behind all rows.
    /// Answers whether there is such a row.
    pub async fn seek_previous_row(&mut self, row: Option<&[u8]>) -> Result<bool> {
        let mut before = match row {
            Some(row) => Cell::first_on_row(row),
            None => Cell::last_on_row(&[0xff; model::cell::ROW_LEN_MAX]),
        };
        loop {
            let mut last: Option<usize> = None;
            for at in 0..self.sources.len() {
                let source = &mut self.sources[at];
                if source.seek_before(&before)? == Progress::NeedsBlock {
                    source.load().await?;
                }
                let Some(cell) = self.sources[at].peek() else { continue };
                let larger = last.is_none_or(|last| {
                    let best = self.sources[last].peek().expect("it was chosen because it has a cell");
                    self.order.compare_rows(cell.row(), best.row()).is_gt()
                });
                if larger {
                    last = Some(at);
                }
            }
            let Some(last) = last else {
                self.heap.clear();
                return Ok(false);
            };
            let row = self.sources[last].peek().expect("it was chosen because it has a cell").row();
            before = Cell::first_on_row(row);
            self.seek(&before).await?;
            let found = self.peek().is_some_and(|cell| self.order.compare_rows(cell.row(), before.row()).is_eq());
            if found {
                return Ok(true);
            }
            // All cells of that row are newer than the read point.
        }
    }
}
