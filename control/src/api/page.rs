//! Lists: pages by cursor, sorted by name, so that what is added or removed meanwhile moves nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::limits::{PAGE, PAGE_MOST};
use super::problem::{Answer, Problem};
use crate::refusal::Code;
use crate::registry::Page;

/// The longest name, coded.
const CURSOR_MOST: usize = 1024;

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// The most items, from 1 to 1000; 100 if it is not given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// `true`: a stream of changes of such objects (server-sent events) in the place of the list.
    watch: Option<bool>,
    /// With `watch`: the revision after which it begins; without it, now.
    since: Option<u64>,
}

/// One page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The objects, sorted by name.
    pub(crate) items: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub(crate) next: Option<String>,
}

impl Part {
    pub(crate) fn new(
        limit: Option<u32>,
        cursor: Option<String>,
        watch: Option<bool>,
        since: Option<u64>,
    ) -> Self {
        Self { limit, cursor, watch, since }
    }

    /// What to ask for: one more than is shown, to know whether there is more.
    pub(crate) fn page(&self) -> Answer<Page> {
        let limit = self.limit()?;
        let unreadable = || Problem::new(Code::Dw6003, "`cursor` is not one that a list gave");
        let read = |text: &String| {
            let fits = (text.len() <= CURSOR_MOST).then_some(text)?;
            String::from_utf8(URL_SAFE_NO_PAD.decode(fits).ok()?).ok()
        };
        let after = match &self.cursor {
            Some(cursor) => Some(read(cursor).filter(|name| !name.contains('\0')).ok_or_else(unreadable)?),
            None => None,
        };
        Ok(Page { after, limit: limit + 1 })
    }

    /// Whether changes are wanted in the place of the list, and after which revision.
    pub(crate) fn watch(&self) -> Option<Option<u64>> {
        self.watch.unwrap_or(false).then_some(self.since)
    }

    fn limit(&self) -> Answer<u32> {
        let limit = self.limit.unwrap_or(PAGE);
        if (1..=PAGE_MOST).contains(&limit) {
            Ok(limit)
        } else {
            Err(Problem::new(Code::Dw6003, format!("`limit` is from 1 to {PAGE_MOST}")))
        }
    }

    /// The page of what was found.
    pub(crate) fn items<R, T>(
        &self,
        rows: Vec<R>,
        name: impl Fn(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Answer<Items<T>> {
        self.items_of((rows, false), name, show)
    }

    /// The same of what may have been cut before the end of the page.
    pub(crate) fn items_of<R, T>(
        &self,
        (mut rows, is_cut): (Vec<R>, bool),
        name: impl Fn(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Answer<Items<T>> {
        let most = usize::try_from(self.limit()?).unwrap_or(usize::MAX);
        let is_more = is_cut || rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| is_more).map(|row| URL_SAFE_NO_PAD.encode(name(row)));
        Ok(Items { items: rows.into_iter().map(show).collect(), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(limit: Option<u32>, cursor: Option<&str>) -> Part {
        Part { limit, cursor: cursor.map(str::to_owned), ..Part::default() }
    }

    #[test]
    fn refuses_pages_that_are_none() {
        for wrong in
            [part(Some(0), None), part(Some(1001), None), part(None, Some("!")), part(None, Some("AA"))]
        {
            assert_eq!(wrong.page().unwrap_err().code, Code::Dw6003, "{wrong:?}");
        }
    }

    #[test]
    fn goes_on_after_the_last_item_of_a_page() {
        let first = part(Some(2), None);
        assert_eq!(first.page().unwrap(), Page { after: None, limit: 3 });
        let found = first.items(vec!["a", "b", "c"], |row| (*row).to_owned(), |row| row).unwrap();
        assert_eq!(found.items, ["a", "b"]);
        let second = part(Some(2), found.next.as_deref());
        assert_eq!(second.page().unwrap().after.as_deref(), Some("b"));
        let cut = first.items_of((vec!["a"], true), |row| (*row).to_owned(), |row| row).unwrap();
        assert_eq!(part(None, cut.next.as_deref()).page().unwrap().after.as_deref(), Some("a"));
        assert_eq!(second.items(vec!["c"], |row| (*row).to_owned(), |row| row).unwrap().next, None);
    }
}
