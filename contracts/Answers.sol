// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Outcome, Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {ReceiptFields, Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev What a recipient's word does to a notice, and the word of a contract account; those of keys are in Runs.sol.
abstract contract Answers is Tasks, Signatures {
    function _walletReceipt(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, ReceiptFields calldata r) = Statements.receipt(data, 0x80);
        uint256 accountWord = Statements.word(data, 0x60);
        if (!ok || accountWord >> 160 != 0) return (0, Reason.MALFORMED);
        address account = address(uint160(accountWord));
        bytes32 structHash = Statements.hash(Statements.WALLET_RECEIPT, data);
        id = Statements.id(structHash, account);
        Head storage head = _heads[r.task];
        uint256 standing = _members[r.task][account];
        bytes32 slot = _noticeSlot(r.task, uint32(standing) / PAGE, r.notice);
        uint256 word = _load(slot);
        uint256 counted = _count(word, standing, r.outcome);
        if (counted == 0) return (id, _refusal(r, head.word, word, standing, id));
        if (!_isSigned(account, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _store(slot, counted);
        if (r.outcome != Outcome.VERIFIED) _seen[id] = true;
        (uint64 seq, uint64 prevBlock) = _advance(head, head.word);
        emit WalletReceipt(r.task, seq, prevBlock, r.notice, uint8(r.outcome), account, signature);
        return (id, Reason.OK);
    }

    /// @dev The notice's word after an author's receipt, or zero when it doesn't count: the author's membership is
    /// active, its bit outstanding, the outcome one of four, and the deadline not over.
    function _count(uint256 word, uint256 standing, uint256 outcome) internal view returns (uint256) {
        unchecked {
            // An outstanding bit says that the notice isn't withdrawn: what is above the masks is its deadline.
            uint256 good = _toUint(outcome - 1 < Outcome.REFUSED) & _toUint(block.timestamp <= word >> DEADLINE_SHIFT);
            uint256 bit = (standing / ACTIVE & good) << (PAGE + uint32(standing) % PAGE);
            if (word & bit == 0) return 0;
            return word ^ bit ^ (bit * _toUint(outcome == Outcome.VERIFIED)) >> PAGE;
        }
    }

    function _toUint(bool value) private pure returns (uint256 result) {
        assembly ("memory-safe") {
            result := value
        }
    }

    /// @dev Why an author's receipt doesn't count; for a member first of all because it has counted already.
    function _refusal(ReceiptFields calldata r, uint256 head, uint256 word, uint256 standing, bytes32 id)
        internal
        view
        returns (uint8)
    {
        if (r.outcome == 0 || r.outcome > Outcome.REFUSED) return Reason.BAD_OUTCOME;
        if (standing == 0) return head == 0 ? Reason.UNKNOWN_TASK : Reason.UNKNOWN_MEMBER;
        uint256 index = uint32(standing);
        bool counted = r.outcome == Outcome.VERIFIED
            ? word >> (index % PAGE) & 1 != 0 || _verifiedEarlier(r.task, r.notice, index)
            : _seen[id];
        if (counted) return Reason.DUPLICATE;
        if (word == 0) return Reason.UNKNOWN_NOTICE;
        if (standing & ACTIVE == 0) return Reason.EXPELLED;
        return block.timestamp > (word & ~WITHDRAWN) >> DEADLINE_SHIFT ? Reason.EXPIRED : Reason.NOT_OUTSTANDING;
    }
}
