// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Kind, Reason} from "./IWaybill.sol";
import {Signatures} from "./Signatures.sol";
import {Statements} from "./Statements.sol";
import {Tasks} from "./Tasks.sol";

/// @dev The owner's statements: Open, Admit, Expel.
abstract contract Rosters is Tasks, Signatures {
    /// @dev So that a roster change fits into one transaction (16.78M gas, EIP-7825).
    uint256 private constant MAX_MEMBERS = 256;

    function _open(bytes calldata data, bytes calldata signature) internal returns (bytes32 id, uint8) {
        (bool ok, address[] calldata accounts) = Statements.list(data, 0x40);
        uint256 ownerWord = Statements.word(data, 0);
        if (!ok || ownerWord >> 160 != 0) return (0, Reason.MALFORMED);
        address owner = address(uint160(ownerWord));
        bytes32 salt = bytes32(Statements.word(data, 0x20));
        bytes32 structHash = keccak256(abi.encode(Statements.OPEN, owner, salt, Statements.hash(accounts)));
        id = Statements.id(structHash, owner);
        uint8 reason = _checkMembers(accounts);
        if (reason != Reason.OK) return (id, reason);
        bytes32 task = keccak256(abi.encode(owner, salt));
        uint96 opening = uint96(uint256(id) >> 160);
        if (_heads[task].word != 0) {
            return (id, _origins[task].opening == opening ? Reason.DUPLICATE : Reason.TASK_EXISTS);
        }
        if (!_isSigned(owner, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _origins[task] = Origin(owner, opening);
        uint256 word = _enroll(task, 1 << VERSION_SHIFT, accounts);
        (uint64 seq, uint64 prevBlock) = _advance(_heads[task], word);
        emit Opened(task, seq, prevBlock, owner, salt, accounts, signature);
        return (id, Reason.OK);
    }

    function _changeRoster(uint256 kind, bytes calldata data, bytes calldata signature)
        internal
        returns (bytes32 id, uint8)
    {
        (bool ok, address[] calldata accounts) = Statements.list(data, 0x20);
        bytes32 task = bytes32(Statements.word(data, 0));
        uint256 version = Statements.word(data, 0x40);
        if (!ok || version >> 32 != 0) return (0, Reason.MALFORMED);
        Head storage head = _heads[task];
        uint256 word = head.word;
        if (word == 0) return (0, Reason.UNKNOWN_TASK);
        address owner = _origins[task].owner;
        bytes32 typeHash = kind == Kind.ADMIT ? Statements.ADMIT : Statements.EXPEL;
        bytes32 structHash = keccak256(abi.encode(typeHash, task, Statements.hash(accounts), version));
        id = Statements.id(structHash, owner);
        uint8 reason = _checkMembers(accounts);
        if (reason != Reason.OK) return (id, reason);
        if (_seen[id]) return (id, Reason.DUPLICATE);
        if (version < _versionOf(word)) return (id, Reason.STALE_ROSTER);
        if (version > _versionOf(word)) return (id, Reason.FUTURE_ROSTER);
        if (!_isSigned(owner, structHash, signature)) return (id, Reason.BAD_SIGNATURE);

        _seen[id] = true;
        word += 1 << VERSION_SHIFT;
        if (kind == Kind.ADMIT) word = _enroll(task, word, accounts);
        else _dismiss(task, accounts);
        (uint64 seq, uint64 prevBlock) = _advance(head, word);
        if (kind == Kind.ADMIT) emit Admitted(task, seq, prevBlock, uint32(version), accounts, signature);
        else emit Expelled(task, seq, prevBlock, uint32(version), accounts, signature);
        return (id, Reason.OK);
    }

    function _checkMembers(address[] calldata accounts) private pure returns (uint8) {
        if (accounts.length == 0 || accounts.length > MAX_MEMBERS) return Reason.BAD_MEMBERS;
        (uint256 least, uint256 most) = Statements.range(accounts);
        if (most >> 160 != 0) return Reason.MALFORMED;
        return least == 0 ? Reason.BAD_MEMBERS : Reason.OK;
    }
}
