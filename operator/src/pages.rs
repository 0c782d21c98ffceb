//! Lists in pages, of which nothing is kept that is not needed: what users write into their objects may be as large as
//! the API server takes (1.5 MiB each), and must not be in memory for all of them at once.

use std::fmt::Debug;

use kube::{Api, api::ListParams};
use serde::de::DeserializeOwned;

/// Objects of one page. The client holds a page's text and its objects: 8 pages' objects of 1.5 MiB, three times.
pub const PAGE: u32 = 8;
/// Pages of one list at most: more objects than etcd's 8 GiB hold. A server that goes on for ever is left.
const MAX_PAGES: u32 = 1_000_000;

/// What `keep` makes of each object.
pub async fn collect<K, T>(
    api: &Api<K>,
    params: &ListParams,
    mut keep: impl FnMut(K) -> Option<T>,
) -> kube::Result<Vec<T>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = params.clone().limit(PAGE);
    let mut kept = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = api.list(&params).await?;
        kept.extend(page.items.into_iter().filter_map(&mut keep));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    Ok(kept)
}
