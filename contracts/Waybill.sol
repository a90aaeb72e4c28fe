// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Item, Kind, Reason} from "./IWaybill.sol";
import {Posts} from "./Posts.sol";
import {Rosters} from "./Rosters.sol";
import {Runs} from "./Runs.sol";
import {Statements} from "./Statements.sol";

/// @dev Every statement's checks run from what is cheap and lasting to the signature, which is judged last; only then
/// is anything written. What is on the chain already is found out before anything that may have changed since.
contract Waybill is Rosters, Posts, Runs {
    /// @inheritdoc IWaybill
    /// @dev Answers by hand: the codes stay where they were made, since the ABI's offsets may point anywhere. That
    /// saves about 300 gas an item.
    function relay(Item[] calldata items) external returns (uint8[][] memory results) {
        uint256 count = items.length;
        uint256 offsets;
        assembly ("memory-safe") {
            results := add(mload(0x40), 0x20) // a word before it says where it is: right behind
            mstore(results, count)
            offsets := add(results, 0x20)
            mstore(0x40, add(offsets, shl(5, count)))
        }
        unchecked {
            for (uint256 i; i < count;) {
                (uint256 kind, bytes calldata data, bytes calldata signatures) = Statements.item(items, i);
                if (kind == Kind.RECEIPTS) {
                    i = _answers(items, i, offsets);
                } else {
                    Statements.place(offsets, i, _one(kind, data, signatures));
                    ++i;
                }
            }
        }
        assembly ("memory-safe") {
            let answer := sub(results, 0x20)
            mstore(answer, 0x20)
            return(answer, sub(mload(0x40), answer))
        }
    }

    function _one(uint256 kind, bytes calldata data, bytes calldata signature) private returns (uint8[] memory) {
        (bytes32 id, uint8 reason) = _apply(kind, data, signature);
        return _single(id, reason);
    }

    function _apply(uint256 kind, bytes calldata data, bytes calldata signature) private returns (bytes32, uint8) {
        if (kind == Kind.NOTICE) return _notice(data, signature);
        if (kind == Kind.MESSAGE) return _message(data, signature);
        if (kind == Kind.WITHDRAW) return _withdraw(data, signature);
        if (kind == Kind.WALLET_RECEIPT) return _walletReceipt(data, signature);
        if (kind == Kind.OPEN) return _open(data, signature);
        if (kind == Kind.ADMIT || kind == Kind.EXPEL) return _changeRoster(kind, data, signature);
        return (0, Reason.BAD_KIND);
    }
}
