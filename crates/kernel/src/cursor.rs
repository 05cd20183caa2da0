//! Opaque page cursors: the sort values and the id of the last row of a page.
//!
//! A cursor is bound to the sort order it was made for and carries no secret; a forged one can only start a page
//! elsewhere in what the caller may see anyway.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
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

impl Cursor {
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
}
