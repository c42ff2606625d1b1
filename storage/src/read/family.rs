//! The cells of one family that a read includes, row by row.

use bytes::Bytes;
use model::{Cell, CellRef};

use super::matcher::Matcher;
use super::rows::{FilterSlot, Query, Sink};
use super::trackers::Code;
use super::{FamilySettings, Merge};
use crate::error::Result;
use crate::source::Progress;

/// Steps tried before a search key is made: most columns and rows have few cells.
const STEPS_BEFORE_SEEK: usize = 8;

/// See the module's text.
#[derive(Debug)]
pub struct FamilyScanner {
    name: Bytes,
    merge: Merge,
    matcher: Matcher,
    reversed: bool,
    start_row: Bytes,
    include_start_row: bool,
    store_limit: Option<u32>,
    store_offset: u32,
    /// Cells of the row that passed, offset included.
    passed: u32,
    /// The column that is being left.
    leaving: Vec<u8>,
    ended: bool,
}

impl FamilyScanner {
    pub(crate) fn new(
        query: &Query,
        settings: FamilySettings,
        merge: Merge,
        now_ms: i64,
        filtered: bool,
    ) -> Result<FamilyScanner> {
        let matcher = Matcher::new(query, &settings, merge.order(), now_ms, filtered)?;
        Ok(FamilyScanner {
            name: settings.name,
            merge,
            matcher,
            reversed: query.reversed,
            start_row: query.start_row.clone(),
            include_start_row: query.include_start_row,
            store_limit: query.selection.store_limit,
            store_offset: query.selection.store_offset,
            passed: 0,
            leaving: Vec::new(),
            ended: false,
        })
    }

    /// The family.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The cell at the position, not yet judged.
    pub fn peek(&self) -> Option<CellRef<'_>> {
        if self.ended { None } else { self.merge.peek() }
    }

    /// The cell at the position, shared.
    pub fn cell(&self) -> Option<Cell> {
        if self.ended { None } else { self.merge.cell() }
    }

    /// Goes to the first row of the query.
    pub(crate) async fn start(&mut self) -> Result<()> {
        let row = self.start_row.clone();
        match (self.reversed, self.include_start_row || row.is_empty()) {
            (false, true) => self.merge.seek(&Cell::first_on_row(&row)).await,
            (false, false) => self.merge.seek(&Cell::last_on_row(&row)).await,
            (true, true) => self.seek_back_to(&row).await,
            (true, false) => self.merge.seek_previous_row(Some(&row)).await.map(drop),
        }
    }

    /// Goes to the row or, if it has no cell, on to the next one in the direction of the scan.
    pub(crate) async fn seek_row(&mut self, row: &[u8]) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.matcher.in_row.leave();
        if self.reversed { self.seek_back_to(row).await } else { self.merge.seek(&Cell::first_on_row(row)).await }
    }

    async fn seek_back_to(&mut self, row: &[u8]) -> Result<()> {
        if row.is_empty() {
            return self.merge.seek_previous_row(None).await.map(drop);
        }
        self.merge.seek(&Cell::first_on_row(row)).await?;
        if self.merge.peek().is_none_or(|cell| cell.row() != row) {
            self.merge.seek_previous_row(Some(row)).await?;
        }
        Ok(())
    }

    #[inline]
    async fn step(&mut self) -> Result<()> {
        if self.merge.advance()? == Progress::NeedsBlock {
            self.merge.finish().await?;
        }
        Ok(())
    }

    fn in_same_row(&self) -> bool {
        self.merge.peek().is_some_and(|cell| cell.row() == self.matcher.in_row.row)
    }

    /// After a step forward: a reversed scan goes from the end of a row to the row before.
    async fn keep_direction(&mut self) -> Result<()> {
        if self.reversed && !self.in_same_row() {
            self.merge.seek_previous_row(Some(&self.matcher.in_row.row)).await?;
        }
        Ok(())
    }

    async fn next_row(&mut self) -> Result<()> {
        if self.reversed {
            self.merge.seek_previous_row(Some(&self.matcher.in_row.row)).await?;
            return Ok(());
        }
        for _ in 0..STEPS_BEFORE_SEEK {
            if !self.in_same_row() {
                return Ok(());
            }
            self.step().await?;
        }
        if self.in_same_row() {
            self.merge.reseek(&Cell::last_on_row(&self.matcher.in_row.row)).await?;
        }
        Ok(())
    }

    /// Leaves the column at the position, and goes to the next wanted one if columns are named.
    async fn next_column(&mut self) -> Result<()> {
        self.leaving.clear();
        if let Some(cell) = self.merge.peek() {
            self.leaving.extend_from_slice(cell.qualifier());
        }
        self.step().await?;
        // Family markers lie among the cells of the column without a name: none of them may be passed over.
        if !self.leaving.is_empty() {
            let mut steps = 0;
            while self.in_same_row() && self.is_leaving() {
                if steps == STEPS_BEFORE_SEEK {
                    let row = &self.matcher.in_row.row;
                    let key = match self.matcher.wanted_column() {
                        Some(wanted) if wanted[..] > self.leaving[..] => Cell::first_on_column(row, &self.name, wanted),
                        _ => Cell::last_on_column(row, &self.name, &self.leaving),
                    };
                    self.merge.reseek(&key).await?;
                    break;
                }
                self.step().await?;
                steps += 1;
            }
        }
        self.keep_direction().await
    }

    fn is_leaving(&self) -> bool {
        let Some(cell) = self.merge.peek() else { return false };
        let qualifier = cell.qualifier();
        qualifier == self.leaving || self.matcher.wanted_column().is_some_and(|wanted| qualifier < &wanted[..])
    }

    /// The row is done and no later one is wanted: nothing more comes.
    fn end_if_last_row(&mut self) -> bool {
        if !self.matcher.rows_may_follow() {
            self.ended = true;
        }
        self.ended
    }

    /// Takes cells of one row into the sink, until the row or a bound is reached. It may take none.
    pub(crate) async fn next(&mut self, filter: &mut FilterSlot, sink: &mut Sink) -> Result<()> {
        let Some(first) = self.peek() else {
            self.ended = true;
            return Ok(());
        };
        if !self.matcher.in_row.is_in(first.row()) {
            self.passed = 0;
            // The borrow of the cell must end before the matcher changes; rows are short.
            let matcher = &mut self.matcher;
            if let Some(cell) = self.merge.peek() {
                matcher.enter(cell.row());
            }
        }
        loop {
            let Some(cell) = self.merge.peek() else {
                self.ended = true;
                return Ok(());
            };
            if sink.examine() {
                return Ok(());
            }
            let code = self.matcher.check(cell, filter)?;
            match code {
                Code::Include | Code::IncludeNextCol | Code::IncludeNextRow => {
                    self.passed += 1;
                    if self.passed > self.store_offset {
                        if !sink.discard {
                            let mut taken = self.merge.cell().expect("peek has just shown it");
                            if let Some(filter) = filter {
                                taken = filter.transform_cell(taken)?;
                            }
                            sink.push(taken);
                        }
                        let most = self.store_limit.map(|limit| limit.saturating_add(self.store_offset));
                        if most.is_some_and(|most| self.passed >= most) {
                            if self.end_if_last_row() {
                                return Ok(());
                            }
                            self.matcher.in_row.leave();
                            return self.next_row().await;
                        }
                    }
                    match code {
                        Code::IncludeNextRow => {
                            if self.end_if_last_row() {
                                return Ok(());
                            }
                            self.matcher.in_row.leave();
                            self.next_row().await?;
                        }
                        Code::IncludeNextCol => self.next_column().await?,
                        _ => {
                            self.step().await?;
                            self.keep_direction().await?;
                        }
                    }
                    if sink.full() {
                        return Ok(());
                    }
                }
                Code::Done => {
                    self.ended = self.matcher.is_get();
                    self.matcher.in_row.leave();
                    return Ok(());
                }
                Code::DoneScan => {
                    self.ended = true;
                    return Ok(());
                }
                Code::NextRow => {
                    if self.end_if_last_row() {
                        return Ok(());
                    }
                    self.matcher.in_row.leave();
                    self.next_row().await?;
                }
                Code::NextCol => self.next_column().await?,
                Code::Skip => {
                    self.step().await?;
                    self.keep_direction().await?;
                }
                Code::Hint => {
                    let hint = match filter {
                        Some(filter) => filter.next_cell_hint(cell)?,
                        None => None,
                    };
                    self.follow(hint).await?;
                }
            }
        }
    }

    /// Goes where the filter says if that is ahead, else one step.
    async fn follow(&mut self, hint: Option<Cell>) -> Result<()> {
        if let (Some(hint), Some(cell)) = (hint, self.merge.peek()) {
            let ahead = self.merge.order().compare(hint.as_ref(), cell).is_gt();
            if !self.reversed && ahead {
                return self.merge.reseek(&hint).await;
            }
            if self.reversed && self.merge.order().compare_rows(hint.row(), cell.row()).is_lt() {
                return self.seek_back_to(hint.row()).await;
            }
        }
        self.step().await?;
        self.keep_direction().await
    }
}
