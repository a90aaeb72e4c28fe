// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item, Kind} from "../IWaybill.sol";
import {vm} from "./Vm.sol";

struct Notice {
    bytes32 task;
    address sender;
    uint16 page;
    uint256 recipients;
    bytes32 transfer;
    bytes32 manifest;
    uint48 deadline;
}

struct Message {
    bytes32 task;
    address sender;
    uint16 page;
    uint256 recipients;
    bytes32 kind;
    bytes payload;
    bytes32 salt;
    uint48 deadline;
}

/// @dev Statements by the book: hashed and encoded as EIP-712 and the interface's notes say, with nothing taken from the
/// contract but its numbers.
library Words {
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    string private constant OPEN = "Open(address owner,bytes32 salt,address[] members)";
    string private constant ADMIT = "Admit(bytes32 task,address[] members,uint32 roster)";
    string private constant EXPEL = "Expel(bytes32 task,address[] members,uint32 roster)";
    string private constant NOTICE =
        "Notice(bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline)";
    string private constant RECEIPT = "Receipt(bytes32 task,bytes32 notice,uint8 outcome)";
    string private constant WALLET_RECEIPT = "WalletReceipt(bytes32 task,bytes32 notice,uint8 outcome,address account)";
    string private constant WITHDRAW = "Withdraw(bytes32 task,bytes32 notice)";
    string private constant MESSAGE =
        "Message(bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 kind,bytes payload,bytes32 salt,uint48 deadline)";

    function domain(uint256 chain, address verifier) internal pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, keccak256("Waybill"), keccak256("1"), chain, verifier));
    }

    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    function id(bytes32 structHash, address author) internal pure returns (bytes32) {
        return keccak256(abi.encode(structHash, author));
    }

    function id(Notice memory n) internal pure returns (bytes32) {
        return id(hash(n), n.sender);
    }

    function task(address owner, bytes32 salt) internal pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }

    function hashOpen(address owner, bytes32 salt, address[] memory members) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(OPEN)), owner, salt, keccak256(abi.encodePacked(members))));
    }

    function hashChange(uint8 kind, bytes32 ofTask, address[] memory members, uint256 roster)
        internal
        pure
        returns (bytes32)
    {
        bytes32 typeHash = keccak256(bytes(kind == Kind.ADMIT ? ADMIT : EXPEL));
        return keccak256(abi.encode(typeHash, ofTask, keccak256(abi.encodePacked(members)), roster));
    }

    function hash(Notice memory n) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(NOTICE)), n));
    }

    function hashReceipt(bytes32 ofTask, bytes32 notice, uint256 outcome) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(RECEIPT)), ofTask, notice, outcome));
    }

    function hashWalletReceipt(bytes32 ofTask, bytes32 notice, uint256 outcome, address account)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(keccak256(bytes(WALLET_RECEIPT)), ofTask, notice, outcome, account));
    }

    function hashWithdraw(Notice memory n) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(bytes(WITHDRAW)), n.task, id(n)));
    }

    function hash(Message memory m) internal pure returns (bytes32) {
        return keccak256(
            bytes.concat(
                abi.encode(keccak256(bytes(MESSAGE)), m.task, m.sender, m.page, m.recipients),
                abi.encode(m.kind, keccak256(m.payload), m.salt, m.deadline)
            )
        );
    }

    function encode(Message memory m) internal pure returns (bytes memory) {
        return abi.encode(m.task, m.sender, m.page, m.recipients, m.kind, m.payload, m.salt, m.deadline);
    }

    /// @dev A key's 65 bytes: r, s, v.
    function sign(uint256 key, bytes32 separator, bytes32 structHash) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest(separator, structHash));
        return abi.encodePacked(r, s, v);
    }
}
