//! Who uses which block of the key/value cache.
//!
//! A block is free, or has as many users as sequences whose tables name it. Full blocks may be named; a named block
//! that has lost its last user is idle: it keeps its content until nothing else is free, and whoever needs that content
//! may share it.

use std::collections::BTreeMap;

use super::prefix::BlockName;

/// The blocks of a cache.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    /// Blocks without users and without a name; the last is handed out first.
    free: Vec<u32>,
    named: BTreeMap<BlockName, u32>,
    /// Named blocks without users, by when they lost the last.
    idle: BTreeMap<u64, u32>,
    releases: u64,
}

#[derive(Debug, Clone, Default)]
struct Block {
    users: u32,
    name: Option<BlockName>,
    /// Its key in `idle`, while it is there.
    idle_since: Option<u64>,
}

impl BlockPool {
    /// A pool of `total` free blocks.
    pub fn new(total: usize) -> Self {
        let free: Vec<u32> = (0u32..).take(total).collect();
        Self {
            blocks: vec![Block::default(); total],
            free: free.into_iter().rev().collect(),
            named: BTreeMap::new(),
            idle: BTreeMap::new(),
            releases: 0,
        }
    }

    /// Blocks that can be taken.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Blocks with users.
    pub fn used(&self) -> usize {
        self.blocks.len() - self.available()
    }

    /// Takes a block: a free one, or the one that has been idle longest, which loses its content and its name.
    pub fn take(&mut self) -> Option<u32> {
        let index = self.free.pop().or_else(|| self.evict())?;
        self.block(index).users = 1;
        Some(index)
    }

    fn evict(&mut self) -> Option<u32> {
        let (_, index) = self.idle.pop_first()?;
        let block = self.block(index);
        block.idle_since = None;
        if let Some(name) = block.name.take() {
            self.named.remove(&name);
        }
        Some(index)
    }

    /// Shares the block of a name, if there is one.
    pub fn share(&mut self, name: &BlockName) -> Option<u32> {
        let index = *self.named.get(name)?;
        let block = self.block(index);
        block.users += 1;
        if let Some(since) = block.idle_since.take() {
            self.idle.remove(&since);
        }
        Some(index)
    }

    /// Whether a block of this name can be shared, and whether it is idle.
    pub fn find(&self, name: &BlockName) -> Option<bool> {
        let index = self.named.get(name)?;
        self.blocks
            .get(*index as usize)
            .map(|block| block.idle_since.is_some())
    }

    /// Names a block that is in use and full. Where another block has the name already, it stays that one's.
    ///
    /// # Panics
    /// The block has no user, or a name.
    pub fn name(&mut self, index: u32, name: BlockName) {
        if !self.named.contains_key(&name) {
            let block = self.block(index);
            assert!(
                block.users > 0 && block.name.is_none(),
                "block {index} cannot be named"
            );
            block.name = Some(name);
            self.named.insert(name, index);
        }
    }

    /// Gives up one use of each block of a sequence, in order of position: of those that become idle, the last will be
    /// evicted first, since nothing can be shared beyond a block that is gone.
    ///
    /// # Panics
    /// A block has no user.
    pub fn release(&mut self, blocks: Vec<u32>) {
        for index in blocks.into_iter().rev() {
            self.releases += 1;
            let since = self.releases;
            let block = self.block(index);
            assert!(block.users > 0, "block {index} was released twice");
            block.users -= 1;
            if block.users > 0 {
                continue;
            }
            if block.name.is_some() {
                block.idle_since = Some(since);
                self.idle.insert(since, index);
            } else {
                self.free.push(index);
            }
        }
    }

    /// Panics unless the blocks that are in use are exactly those of these tables, and every other is free or idle,
    /// once.
    #[cfg(test)]
    pub(super) fn check<'a>(&self, tables: impl Iterator<Item = &'a u32>) {
        let mut users = vec![0; self.blocks.len()];
        tables.for_each(|index| users[*index as usize] += 1);
        let mut unused: Vec<u32> = self.free.iter().chain(self.idle.values()).copied().collect();
        unused.sort_unstable();
        let expected: Vec<u32> = (0u32..)
            .zip(&users)
            .filter_map(|(index, users)| (*users == 0).then_some(index))
            .collect();
        assert_eq!(unused, expected, "blocks without users");
        assert!(
            self.blocks
                .iter()
                .zip(&users)
                .all(|(block, users)| block.users == *users)
        );
        for (index, block) in (0u32..).zip(&self.blocks) {
            let idle = block.idle_since.map(|since| self.idle.get(&since));
            assert!(idle.is_none_or(|idle| idle == Some(&index)));
            let named = block.name.map(|name| self.named.get(&name));
            assert!(named.is_none_or(|named| named == Some(&index)));
        }
    }

    fn block(&mut self, index: u32) -> &mut Block {
        &mut self.blocks[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> BlockName {
        BlockName::of(None, &[number])
    }

    #[test]
    fn a_block_is_never_handed_out_twice() {
        let mut pool = BlockPool::new(4);
        let mut taken: Vec<u32> = (0..4).filter_map(|_| pool.take()).collect();
        assert!(pool.take().is_none());
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2, 3]);
        pool.release(vec![2]);
        assert_eq!((pool.used(), pool.take()), (3, Some(2)));
    }

    #[test]
    #[should_panic(expected = "released twice")]
    fn a_block_cannot_be_released_twice() {
        let mut pool = BlockPool::new(1);
        let block = pool.take().expect("free");
        pool.release(vec![block, block]);
    }

    #[test]
    fn a_shared_block_is_free_when_the_last_user_has_left() {
        let mut pool = BlockPool::new(1);
        let block = pool.take().expect("free");
        pool.name(block, name(1));
        assert_eq!(pool.share(&name(1)), Some(block));
        pool.release(vec![block]);
        assert_eq!((pool.used(), pool.take()), (1, None));
        pool.release(vec![block]);
        assert_eq!((pool.used(), pool.available()), (0, 1));
    }

    #[test]
    fn idle_blocks_keep_their_content_until_nothing_else_is_free() {
        let mut pool = BlockPool::new(3);
        let [first, second] = [1, 2].map(|number| {
            let block = pool.take().expect("free");
            pool.name(block, name(number));
            block
        });
        pool.release(vec![first, second]);
        assert_eq!(pool.find(&name(1)), Some(true));
        pool.take().expect("the third");
        assert_eq!(pool.take(), Some(second), "the end of a sequence goes first");
        assert_eq!((pool.share(&name(2)), pool.share(&name(1))), (None, Some(first)));
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn a_name_stays_with_the_block_that_had_it_first() {
        let mut pool = BlockPool::new(2);
        let (first, second) = (pool.take().expect("free"), pool.take().expect("free"));
        pool.name(first, name(1));
        pool.name(second, name(1));
        pool.release(vec![second]);
        assert_eq!((pool.available(), pool.share(&name(1))), (1, Some(first)));
    }
}
