//! Which folders a torrent is in, so that no other is taken for them: an empty one in the place of
//! a drive that is not mounted.

/// A folder, as the system knows it whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolderId {
    /// The file system that it is on. Some systems give it another number after each start.
    pub device: u64,
    /// Its number on that.
    pub inode: u64,
}

/// The folders of one torrent; `None` for one that is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Folders {
    /// The download folder.
    pub root: Option<FolderId>,
    /// The torrent's own folder in it; always `None` for a torrent of one file.
    pub own: Option<FolderId>,
}

impl Folders {
    /// Tells whether one of these is another than `before`, if there was one.
    ///
    /// An own folder that is gone is no other: somebody has removed it from the download folder.
    pub fn are_others(&self, before: &Self) -> bool {
        let is_other_root = before.root.is_some() && self.root != before.root;
        let own = (before.own, self.own);
        is_other_root || matches!(own, (Some(before), Some(now)) if before != now)
    }

    /// Returns the number that the file system of `before` has now, if the download folder differs
    /// in nothing else.
    pub fn renumbered(&self, before: &Self) -> Option<u64> {
        let (before, now) = (before.root?, self.root?);
        (before.inode == now.inode && before.device != now.device).then_some(now.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn folder(device: u64, inode: u64) -> FolderId {
        FolderId { device, inode }
    }

    #[test]
    fn a_folder_is_another_if_any_number_is() {
        let before = Folders { root: Some(folder(1, 2)), own: Some(folder(1, 7)) };
        assert!(!before.are_others(&before));
        for (root, own, are_others) in [
            (Some(folder(3, 2)), Some(folder(1, 7)), true),
            (Some(folder(1, 3)), Some(folder(1, 7)), true),
            (Some(folder(1, 2)), Some(folder(5, 2)), true),
            (None, None, true),
            (Some(folder(1, 2)), None, false),
        ] {
            let now = Folders { root, own };
            assert_eq!(now.are_others(&before), are_others, "{now:?}");
        }
        assert!(!before.are_others(&Folders::default()), "nobody knows what was");
        assert!(!before.are_others(&Folders { own: None, ..before }));
    }

    #[test]
    fn a_file_system_may_have_another_number_than_before() {
        let at = |device, inode| Folders { root: Some(folder(device, inode)), own: None };
        assert_eq!(at(3, 2).renumbered(&at(1, 2)), Some(3));
        assert_eq!(at(1, 2).renumbered(&at(1, 2)), None);
        assert_eq!(at(3, 4).renumbered(&at(1, 2)), None);
        assert_eq!(at(3, 4).renumbered(&Folders::default()), None);
    }
}
