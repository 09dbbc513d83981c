// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// Where a log's keeper fixes what the log said: the Merkle root of each epoch's rows, once and for ever.
interface IAnchors {
    /// Rows `first` to `last` of the sender's log have this root; it is the sender's epoch number `epoch`, from 1.
    event Anchored(address indexed sender, uint64 indexed epoch, bytes32 root, uint64 first, uint64 last);

    /// Anchors the sender's next epoch. Reverts `RowsOutOfOrder` unless it begins right behind the sender's last one (the
    /// sender's first may begin anywhere) and has at least one row. Nothing replaces an epoch.
    function anchor(bytes32 root, uint64 first, uint64 last) external returns (uint64 epoch);
    /// How many epochs a sender has anchored, and the last row in them; zeros without any.
    function headOf(address sender) external view returns (uint64 epochs, uint64 last);
}
