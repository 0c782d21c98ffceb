//! The last test: what the others leave behind, which is nothing.

use anyhow::Result;
use e2e::namespace;

use super::on_bare_stack;

#[test]
fn no_namespace_of_a_test_is_left() -> Result<()> {
    on_bare_stack(|stack| async move { namespace::all_removed(&stack).await })
}
