// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IWaybill, Member, Reason} from "./IWaybill.sol";
import {EfficientHashLib} from "solady/src/utils/EfficientHashLib.sol";

/// @dev What the chain keeps: tasks, members, notices, and which statements were seen.
abstract contract Tasks is IWaybill {
    /// @dev One slot, written by every event. A version of 0 means that there is no such task.
    struct Head {
        uint64 seq;
        uint64 blockNumber;
        uint32 count;
        uint32 version;
    }

    /// @dev One slot, written once. `opening` is the top of the Open's statement id.
    struct Origin {
        address owner;
        uint96 opening;
    }

    /// @dev Two masks of this size and a deadline fill a notice's word.
    uint256 internal constant PAGE = 104;
    uint256 internal constant PAGE_MASK = (1 << PAGE) - 1;
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
    mapping(bytes32 key => uint256) internal _notices;
    mapping(bytes32 id => bool) internal _seen;

    /// @dev Bound to the task and the page, so that nobody outside of them can clear a bit.
    function _noticeKey(bytes32 task, uint256 page, bytes32 notice) internal pure returns (bytes32) {
        return EfficientHashLib.hash(task, bytes32(page), notice);
    }

    /// @dev Moves the task's line on, for the event that the caller emits next.
    function _advance(bytes32 task, Head memory head) internal returns (uint64 seq, uint64 prevBlock) {
        unchecked {
            seq = ++head.seq;
        }
        prevBlock = head.blockNumber;
        head.blockNumber = uint64(block.number);
        _heads[task] = head;
    }

    /// @dev Gives each account that isn't active the next index, in order.
    function _enroll(bytes32 task, Head memory head, address[] calldata accounts) internal {
        mapping(address => uint256) storage ofTask = _members[task];
        mapping(uint256 => uint256) storage byIndex = _accounts[task];
        uint256 count = head.count;
        unchecked {
            for (uint256 i; i < accounts.length; ++i) {
                address account = accounts[i];
                uint256 word = ofTask[account];
                if (word & ACTIVE != 0) continue;
                uint256 previous = word == 0 ? 0 : uint32(word) + 1;
                byIndex[count] = previous << 160 | uint160(account);
                ofTask[account] = KNOWN | ACTIVE | count++;
            }
        }
        head.count = uint32(count);
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
            if (_notices[_noticeKey(task, index / PAGE, notice)] >> (index % PAGE) & 1 != 0) return true;
        }
        return false;
    }

    /// @dev Why an account may not speak in a task now, if so.
    function _standing(bytes32 task, address account) internal view returns (uint8 reason) {
        uint256 word = _members[task][account];
        if (word == 0) return Reason.UNKNOWN_MEMBER;
        if (word & ACTIVE == 0) return Reason.EXPELLED;
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
        uint256 total = _heads[task].count;
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
        Head storage head = _heads[task];
        return (_origins[task].owner, head.version, head.count);
    }

    /// @inheritdoc IWaybill
    function latest(bytes32 task) external view returns (uint64 seq, uint64 blockNumber) {
        Head storage head = _heads[task];
        return (head.seq, head.blockNumber);
    }

    /// @inheritdoc IWaybill
    function state(bytes32 task, uint16 page, bytes32 notice)
        external
        view
        returns (uint48 deadline, uint104 outstanding, uint104 verified, bool withdrawn)
    {
        uint256 word = _notices[_noticeKey(task, page, notice)];
        deadline = uint48((word & ~WITHDRAWN) >> DEADLINE_SHIFT);
        return (deadline, uint104(word >> PAGE), uint104(word), word & WITHDRAWN != 0);
    }
}
