// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Member, Reason} from "./IWaybill.sol";
import {EfficientHashLib} from "solady/src/utils/EfficientHashLib.sol";

/// @dev What the chain keeps: tasks, members, notices, and which statements were seen.
abstract contract Tasks is IWaybill {
    /// @dev One slot, written once. `opening` is the top of the Open's statement id.
    struct Origin {
        address owner;
        uint96 opening;
    }

    /// @dev A task's word, in a struct so that its slot is computed once.
    struct Head {
        uint256 word;
    }

    /// @dev Two masks of this size and a deadline fill a notice's word.
    uint256 internal constant PAGE = 104;
    uint256 internal constant PAGE_MASK = (1 << PAGE) - 1;
    /// @dev In a task's word, which every event writes: version (32), count (32), block (64) and seq (64) of the newest
    /// event. Zero when there is no such task.
    uint256 internal constant VERSION_SHIFT = 160;
    uint256 internal constant COUNT_SHIFT = 128;
    uint256 internal constant BLOCK_SHIFT = 64;
    /// @dev In a notice's word: withdrawn (1 bit), deadline (47), outstanding (104), verified (104).
    uint256 internal constant WITHDRAWN = 1 << 255;
    uint256 internal constant DEADLINE_SHIFT = 2 * PAGE;
    /// @dev In a member's word: known (bit 33), active (bit 32), index.
    uint256 internal constant KNOWN = 1 << 33;
    uint256 internal constant ACTIVE = 1 << 32;
    /// @dev How many earlier indices of an account are searched for a receipt of that time. Re-admission is rare; the
    /// bound keeps an owner from making its members' receipts expensive.
    uint256 private constant EARLIER = 16;

    mapping(bytes32 task => Head) internal _heads;
    mapping(bytes32 task => Origin) internal _origins;
    mapping(bytes32 task => mapping(address account => uint256)) internal _members;
    /// @dev The account at an index, and above it (from bit 160) one more than the account's previous index, if any.
    mapping(bytes32 task => mapping(uint256 index => uint256)) internal _accounts;
    mapping(bytes32 id => bool) internal _seen;

    /// @dev The slot of a notice's word. Bound to task and page, so that nobody outside of them can clear a bit.
    function _noticeSlot(bytes32 task, uint256 page, bytes32 notice) internal pure returns (bytes32) {
        return EfficientHashLib.hash(task, notice, bytes32(page));
    }

    function _load(bytes32 slot) internal view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(slot)
        }
    }

    function _store(bytes32 slot, uint256 word) internal {
        assembly ("memory-safe") {
            sstore(slot, word)
        }
    }

    /// @dev Moves the task's line on from `word`, for the event that the caller emits next.
    function _advance(Head storage head, uint256 word) internal returns (uint64 seq, uint64 prevBlock) {
        (head.word, seq, prevBlock) = _next(word);
    }

    /// @dev A task's word after its next event, and what that event says of its place in the line.
    function _next(uint256 word) internal view returns (uint256 next, uint64 seq, uint64 prevBlock) {
        prevBlock = uint64(word >> BLOCK_SHIFT);
        unchecked {
            seq = uint64(word + 1);
            next = word + 1 + ((block.number - prevBlock) << BLOCK_SHIFT);
        }
    }

    /// @dev Where a task's members lie, for `_standing`.
    function _membersOf(bytes32 task) internal view returns (bytes32 slot) {
        mapping(address => uint256) storage ofTask = _members[task];
        assembly ("memory-safe") {
            slot := ofTask.slot
        }
    }

    /// @dev Gives each account that isn't active the next index, in order.
    /// @return The task's word with the new count.
    function _enroll(bytes32 task, uint256 head, address[] calldata accounts) internal returns (uint256) {
        mapping(address => uint256) storage ofTask = _members[task];
        mapping(uint256 => uint256) storage byIndex = _accounts[task];
        unchecked {
            for (uint256 i; i < accounts.length; ++i) {
                address account = accounts[i];
                uint256 word = ofTask[account];
                if (word & ACTIVE != 0) continue;
                uint256 previous = word == 0 ? 0 : uint256(uint32(word)) + 1;
                uint256 index = _countOf(head);
                byIndex[index] = previous << 160 | uint160(account);
                ofTask[account] = KNOWN | ACTIVE | index;
                head += 1 << COUNT_SHIFT;
            }
        }
        return head;
    }

    function _versionOf(uint256 head) internal pure returns (uint32) {
        return uint32(head >> VERSION_SHIFT);
    }

    function _countOf(uint256 head) internal pure returns (uint32) {
        return uint32(head >> COUNT_SHIFT);
    }

    function _dismiss(bytes32 task, address[] calldata accounts) internal {
        mapping(address => uint256) storage ofTask = _members[task];
        for (uint256 i; i < accounts.length; ++i) {
            uint256 word = ofTask[accounts[i]];
            if (word & ACTIVE != 0) ofTask[accounts[i]] = word ^ ACTIVE;
        }
    }

    /// @dev Whether the account has verified the notice under an index that it had before this one.
    function _verifiedEarlier(bytes32 task, bytes32 notice, uint256 index) internal view returns (bool) {
        for (uint256 i; i < EARLIER; ++i) {
            uint256 previous = _accounts[task][index] >> 160;
            if (previous == 0) return false;
            index = previous - 1;
            if (_load(_noticeSlot(task, index / PAGE, notice)) >> (index % PAGE) & 1 != 0) return true;
        }
        return false;
    }

    /// @dev The answer to an item that has one code.
    function _single(bytes32 id, uint8 reason) internal returns (uint8[] memory codes) {
        assembly ("memory-safe") {
            codes := mload(0x40)
            mstore(codes, 1)
            mstore(add(codes, 0x20), and(reason, 0xff))
            mstore(0x40, add(codes, 0x40))
        }
        if (reason != Reason.OK) emit Skipped(id, reason);
    }

    /// @inheritdoc IWaybill
    function member(bytes32 task, address account) external view returns (uint32 index, bool active, bool known) {
        uint256 word = _members[task][account];
        return (uint32(word), word & ACTIVE != 0, word != 0);
    }

    /// @inheritdoc IWaybill
    function members(bytes32 task, uint256 from, uint256 count)
        external
        view
        returns (Member[] memory list)
    {
        uint256 total = _countOf(_heads[task].word);
        uint256 length = from < total ? total - from : 0;
        if (count < length) length = count;
        list = new Member[](length);
        for (uint256 i; i < length; ++i) {
            address account = address(uint160(_accounts[task][from + i]));
            list[i] = Member(account, _members[task][account] == (KNOWN | ACTIVE | (from + i)));
        }
    }

    /// @inheritdoc IWaybill
    function roster(bytes32 task) external view returns (address owner, uint32 version, uint32 count) {
        uint256 head = _heads[task].word;
        return (_origins[task].owner, _versionOf(head), _countOf(head));
    }

    /// @inheritdoc IWaybill
    function latest(bytes32 task) external view returns (uint64 seq, uint64 blockNumber) {
        uint256 head = _heads[task].word;
        return (uint64(head), uint64(head >> BLOCK_SHIFT));
    }

    /// @inheritdoc IWaybill
    function state(bytes32 task, uint16 page, bytes32 notice)
        external
        view
        returns (uint48 deadline, uint104 outstanding, uint104 verified, bool withdrawn)
    {
        uint256 word = _load(_noticeSlot(task, page, notice));
        deadline = uint48((word & ~WITHDRAWN) >> DEADLINE_SHIFT);
        return (deadline, uint104(word >> PAGE), uint104(word), word & WITHDRAWN != 0);
    }
}
