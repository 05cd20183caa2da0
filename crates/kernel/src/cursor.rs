//! Opaque page cursors: the sort values and the id of the last row of a page.
//!
//! A cursor is bound to the sort order it was made for and carries no secret; a forged one can only start a page
//! elsewhere in what the caller may see anyway.

use crate::Error;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The sort order that the cursor belongs to, as in `sort=`.
    #[serde(rename = "s")]
    pub sort: String,
    /// One value per sort column, as text; `None` stands for null.
    #[serde(rename = "v")]
    pub values: Vec<Option<String>>,
    /// The id of the last row.
    #[serde(rename = "i")]
    pub id: Uuid,
}

/// The text is not a cursor of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list")]
pub struct NotACursor;

impl From<NotACursor> for Error {
    fn from(e: NotACursor) -> Self {
        Self::parameter("cursor", e.to_string())
    }
}

impl Cursor {
    /// One of a list that is sorted by an instant, and by id where that is the same.
    #[must_use]
    pub fn at(sort: &str, instant: OffsetDateTime, id: Uuid) -> Self {
        Self { sort: sort.into(), values: vec![instant.format(&Rfc3339).ok()], id }
    }

    /// The instant of one that [`Cursor::at`] made for this order.
    ///
    /// # Errors
    /// [`NotACursor`] for any other.
    pub fn instant(&self, sort: &str) -> Result<OffsetDateTime, NotACursor> {
        match self.values.as_slice() {
            [Some(at)] if self.sort == sort => OffsetDateTime::parse(at, &Rfc3339).map_err(|_| NotACursor),
            _ => Err(NotACursor),
        }
    }

    /// The text for `next_cursor`.
    #[must_use]
    pub fn encode(&self) -> String {
        // A struct of strings always serialises.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// [`NotACursor`] for anything else.
    pub fn decode(text: &str) -> Result<Self, NotACursor> {
        if text.len() > 4096 {
            return Err(NotACursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        serde_json::from_slice(&bytes).map_err(|_| NotACursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_others() {
        let c = Cursor { sort: "-created_at".into(), values: vec![Some("x".into()), None], id: Uuid::nil() };
        assert_eq!(Cursor::decode(&c.encode()), Ok(c));
        for bad in ["", "%%%", "e30", &"A".repeat(5000)] {
            assert_eq!(Cursor::decode(bad), Err(NotACursor));
        }
    }

    #[test]
    fn an_instant_belongs_to_its_order() {
        let now = crate::clock::now();
        let c = Cursor::at("-created_at", now, Uuid::nil());
        assert_eq!(c.instant("-created_at"), Ok(now));
        assert_eq!(c.instant("-changed_at"), Err(NotACursor));
        for values in [vec![], vec![None], vec![Some("yesterday".into())], vec![Some("x".into()), None]] {
            assert_eq!(Cursor { values, ..c.clone() }.instant("-created_at"), Err(NotACursor));
        }
    }
}
