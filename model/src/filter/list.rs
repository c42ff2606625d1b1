//! Filter lists: AND and OR over members, with HBase's rules for merging what members say of a cell.

use std::cmp::Ordering;

use super::node::{FilterCode, FilterError, Node};
use crate::cell::{Cell, CellOrder, CellRef};

type Result<T> = std::result::Result<T, FilterError>;
type Members = Vec<Box<dyn Node>>;

fn compare(a: CellRef<'_>, b: CellRef<'_>, reversed: bool) -> Ordering {
    let order = CellOrder::User.compare_keys(a.key(), b.key());
    if reversed { order.reverse() } else { order }
}

/// Every member must want the cell.
#[derive(Debug)]
pub(super) struct AllOf {
    members: Members,
    reversed: bool,
    /// Members that asked to seek for the present cell.
    seekers: Vec<usize>,
}

impl AllOf {
    pub(super) fn new(members: Members, reversed: bool) -> AllOf {
        AllOf { members, reversed, seekers: Vec::new() }
    }
}

/// `so_far` wants the cell; what the list says once a member has said `said`.
fn merge_all(so_far: FilterCode, said: FilterCode) -> FilterCode {
    use FilterCode::*;
    match (so_far, said) {
        (_, SeekNextUsingHint) => SeekNextUsingHint,
        (_, Include) => so_far,
        (IncludeAndSeekNextRow, IncludeAndNextCol) | (_, IncludeAndSeekNextRow) => IncludeAndSeekNextRow,
        (_, IncludeAndNextCol) => IncludeAndNextCol,
        (_, NextRow) | (IncludeAndSeekNextRow, _) => NextRow,
        (_, NextCol) | (IncludeAndNextCol, _) => NextCol,
        (_, Skip) => Skip,
    }
}

impl Node for AllOf {
    fn reset(&mut self) {
        self.members.iter_mut().for_each(|member| member.reset());
        self.seekers.clear();
    }
    fn filter_all_remaining(&self) -> bool {
        self.members.iter().any(|member| member.filter_all_remaining())
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        let (mut out, mut hinting_in) = (false, false);
        for member in &mut self.members {
            if member.filter_all_remaining() {
                return Ok(true);
            } else if member.filter_row_key(first)? {
                out = true;
            } else {
                hinting_in |= member.is_hinting();
            }
        }
        // A hinting member may still tell where to go on.
        Ok(out && !hinting_in)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        let mut code = FilterCode::Include;
        self.seekers.clear();
        let mut rejected = false;
        for (at, member) in self.members.iter_mut().enumerate() {
            if rejected {
                if member.is_hinting() && member.filter_cell(cell)? == FilterCode::SeekNextUsingHint {
                    self.seekers.push(at);
                }
                continue;
            }
            if member.filter_all_remaining() {
                code = FilterCode::NextRow;
                rejected = true;
                continue;
            }
            let said = member.filter_cell(cell)?;
            if said == FilterCode::SeekNextUsingHint {
                self.seekers.push(at);
            }
            code = merge_all(code, said);
            rejected = !code.includes();
        }
        Ok(if self.seekers.is_empty() { code } else { FilterCode::SeekNextUsingHint })
    }
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        self.members.iter_mut().fold(cell, |cell, member| member.transform_cell(cell))
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        let mut farthest: Option<Cell> = None;
        for at in &self.seekers {
            let member = &mut self.members[*at];
            if member.filter_all_remaining() {
                continue;
            }
            if let Some(hint) = member.next_cell_hint(cell)
                && farthest.as_ref().is_none_or(|far| compare(far.as_ref(), hint.as_ref(), self.reversed).is_lt())
            {
                farthest = Some(hint);
            }
        }
        farthest
    }
    fn has_filter_row(&self) -> bool {
        self.members.iter().any(|member| member.has_filter_row())
    }
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) {
        self.members.iter_mut().for_each(|member| member.filter_row_cells(cells));
    }
    fn filter_row(&mut self) -> bool {
        self.members.iter_mut().any(|member| member.filter_row())
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        self.members.is_empty() || self.members.iter().any(|member| member.is_family_essential(family))
    }
}

/// What a member of an OR list last said, as far as it still counts for later cells.
#[derive(Debug, Default)]
struct Last {
    code: Option<FilterCode>,
    cell: Option<Cell>,
    included: bool,
}

/// One member must want the cell.
#[derive(Debug)]
pub(super) struct OneOf {
    members: Members,
    last: Vec<Last>,
    reversed: bool,
}

impl OneOf {
    pub(super) fn new(members: Members, reversed: bool) -> OneOf {
        let last = members.iter().map(|_| Last::default()).collect();
        OneOf { members, last, reversed }
    }
}

fn merge_one(so_far: FilterCode, said: FilterCode) -> FilterCode {
    use FilterCode::*;
    match (so_far, said) {
        (Include, _) | (_, Include) => Include,
        (SeekNextUsingHint, SeekNextUsingHint) => SeekNextUsingHint,
        (Skip | SeekNextUsingHint, other) | (other, Skip | SeekNextUsingHint) => {
            if other.includes() {
                Include
            } else {
                Skip
            }
        }
        (IncludeAndNextCol, _) | (_, IncludeAndNextCol) => IncludeAndNextCol,
        (IncludeAndSeekNextRow, NextCol) | (NextCol, IncludeAndSeekNextRow) => IncludeAndNextCol,
        (IncludeAndSeekNextRow, _) | (_, IncludeAndSeekNextRow) => IncludeAndSeekNextRow,
        (NextCol, _) | (_, NextCol) => NextCol,
        (NextRow, NextRow) => NextRow,
    }
}

/// What an earlier answer says of this cell, if it still holds.
fn still_holds(member: &mut dyn Node, last: &Last, cell: CellRef<'_>, reversed: bool) -> Option<FilterCode> {
    let (code, before) = (last.code?, last.cell.as_ref()?.as_ref());
    match code {
        FilterCode::Include | FilterCode::Skip => None,
        FilterCode::SeekNextUsingHint => {
            let hint = member.next_cell_hint(before)?;
            compare(cell, hint.as_ref(), reversed).is_lt().then_some(FilterCode::SeekNextUsingHint)
        }
        FilterCode::NextCol | FilterCode::IncludeAndNextCol => {
            (before.family() == cell.family() && before.qualifier() == cell.qualifier()).then_some(FilterCode::NextCol)
        }
        FilterCode::NextRow | FilterCode::IncludeAndSeekNextRow => {
            (before.family() == cell.family()).then_some(FilterCode::NextRow)
        }
    }
}

impl Node for OneOf {
    fn reset(&mut self) {
        self.members.iter_mut().for_each(|member| member.reset());
        self.last.iter_mut().for_each(|last| *last = Last::default());
    }
    fn filter_all_remaining(&self) -> bool {
        !self.members.is_empty() && self.members.iter().all(|member| member.filter_all_remaining())
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        let mut out = !self.members.is_empty();
        for member in &mut self.members {
            if !member.filter_all_remaining() && !member.filter_row_key(first)? {
                out = false;
            }
        }
        Ok(out)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        if self.members.is_empty() {
            return Ok(FilterCode::Include);
        }
        let mut code = None;
        for (member, last) in self.members.iter_mut().zip(&mut self.last) {
            last.included = false;
            if member.filter_all_remaining() {
                continue;
            }
            let said = match still_holds(member.as_mut(), last, cell, self.reversed) {
                Some(said) => said,
                None => member.filter_cell(cell)?,
            };
            last.code = Some(said);
            last.cell = (!matches!(said, FilterCode::Include | FilterCode::Skip)).then(|| cell.to_cell());
            last.included = said.includes();
            code = Some(code.map_or(said, |so_far| merge_one(so_far, said)));
        }
        Ok(code.unwrap_or(FilterCode::Skip))
    }
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        let included = self.members.iter_mut().zip(&self.last).filter(|(_, last)| last.included);
        included.fold(cell, |cell, (member, _)| member.transform_cell(cell))
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        let mut nearest: Option<Cell> = None;
        for member in self.members.iter_mut().filter(|member| !member.filter_all_remaining()) {
            let hint = member.next_cell_hint(cell)?;
            if nearest.as_ref().is_none_or(|near| compare(near.as_ref(), hint.as_ref(), self.reversed).is_gt()) {
                nearest = Some(hint);
            }
        }
        nearest
    }
    fn has_filter_row(&self) -> bool {
        self.members.iter().any(|member| member.has_filter_row())
    }
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) {
        self.members.iter_mut().for_each(|member| member.filter_row_cells(cells));
    }
    fn filter_row(&mut self) -> bool {
        !self.members.is_empty() && self.members.iter_mut().all(|member| member.filter_row())
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        self.members.is_empty() || self.members.iter().any(|member| member.is_family_essential(family))
    }
}
