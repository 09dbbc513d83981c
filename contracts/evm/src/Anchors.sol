// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {RowsOutOfOrder} from "./Errors.sol";
import {IAnchors} from "./interfaces/IAnchors.sol";

/// Anchors of anybody's logs. Roots are events; only how far each sender has come is stored.
contract Anchors is IAnchors {
    /// One slot.
    struct Head {
        uint64 epochs;
        uint64 last;
    }

    mapping(address sender => Head) private _heads;

    /// @inheritdoc IAnchors
    function anchor(bytes32 root, uint64 first, uint64 last) external returns (uint64 epoch) {
        Head storage head = _heads[msg.sender];
        epoch = head.epochs + 1;
        if (first == 0 || first > last || (epoch != 1 && first != head.last + 1)) {
            revert RowsOutOfOrder(epoch == 1 ? 1 : head.last + 1);
        }
        (head.epochs, head.last) = (epoch, last);
        emit Anchored(msg.sender, epoch, root, first, last);
    }

    /// @inheritdoc IAnchors
    function headOf(address sender) external view returns (uint64 epochs, uint64 last) {
        Head storage head = _heads[sender];
        return (head.epochs, head.last);
    }
}
