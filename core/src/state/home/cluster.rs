//! The rows of the cluster: fetched together, changed together.
//!
//! A change of the cluster is rare and its rows are few, so an operation is handed all of them and whatever differs afterwards
//! is written.

use super::super::Moment;
use super::super::cluster::{self, ClusterOperation, ClusterRows, PlacementRow, TokenHash, TokenRow};
use super::super::command::Answer;
use super::super::layout::Table;
use super::{Home, Reader};
use crate::rows::RowsError;
use crate::topology::Topology;
use alloc::vec::Vec;

impl Reader<'_> {
    pub(in super::super) fn topology(self) -> Result<Topology, RowsError> {
        Ok(self.get(&self.layout.topology())?.unwrap_or_default())
    }

    pub(in super::super) fn placement(self) -> Result<Option<PlacementRow>, RowsError> {
        self.get(&self.layout.placement())
    }

    fn cluster(self) -> Result<ClusterRows, RowsError> {
        let tokens: Vec<(TokenHash, TokenRow)> =
            self.collect(&self.layout.table_rows(Table::Tokens), usize::MAX, |key| key.rest().try_into().ok())?;
        let tokens = tokens.into_iter().collect();
        Ok(ClusterRows { topology: self.topology()?, tokens, placement: self.placement()? })
    }
}

impl Home<'_> {
    pub(super) fn operate_cluster(
        &mut self,
        operation: &ClusterOperation,
        moment: Moment,
    ) -> Result<Answer, RowsError> {
        let before = self.reader().cluster()?;
        let mut after = before.clone();
        let answer = match cluster::decide(&mut after, operation, moment) {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        let layout = self.layout;
        if after.topology != before.topology {
            self.put(&layout.topology(), &after.topology)?;
        }
        if let Some(placement) = after.placement.filter(|after| before.placement.as_ref() != Some(after)) {
            self.put(&layout.placement(), &placement)?;
        }
        for hash in before.tokens.keys().filter(|hash| !after.tokens.contains_key(*hash)) {
            self.rows.remove(&layout.token(hash))?;
        }
        for (hash, row) in after.tokens.iter().filter(|(hash, row)| before.tokens.get(*hash) != Some(row)) {
            self.put(&layout.token(hash), row)?;
        }
        Ok(answer)
    }
}
