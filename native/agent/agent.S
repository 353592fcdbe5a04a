# The in-target agent: walks an array of 64-byte records and makes each system call. No policy, no data of its own,
# position independent; TypeScript (src/task/batch.ts) composes the records, ptrace starts it and reads the results.
#
# A record: u32 number, u32 flags, u64 arguments[6], u64 result.  Flag 1: a failing call does not end the batch.
#
# Registers on entry, all preserved by system calls (which change rax, rcx and r11 only):
#   r12 first record   r13 end of the records   r14 pid   rbp tid   rbx the signal that ends the batch
#   r15 an rt_sigreturn(2) frame to leave by when nobody traces any more, or 0
#
# A second entry, faultline_agent_leave, is where a thread stands that has a frame (r15) and no batch yet: untraced, it
# goes back at once. It blocks all signals first, since a handler must not run while the stack pointer is the frame's.
#
# The end of a batch is a signal to itself: its tracer sees a signal-delivery-stop and suppresses the signal. Chosen is
# one that the program ignores, so that when the tracer has died the batch runs to its end, the signal does nothing, and
# rt_sigreturn puts the program back where it was. A trap instruction would reset SIGTRAP's handler where it is blocked.
    .section .rodata
    .balign 16
    .globl faultline_agent_start
    .hidden faultline_agent_start
    .globl faultline_agent_end
    .hidden faultline_agent_end
    .globl faultline_agent_leave
    .hidden faultline_agent_leave
faultline_agent_start:
.Lnext:
    cmp %r13, %r12
    jae .Lend
    mov (%r12), %eax
    mov 8(%r12), %rdi
    mov 16(%r12), %rsi
    mov 24(%r12), %rdx
    mov 32(%r12), %r10
    mov 40(%r12), %r8
    mov 48(%r12), %r9
    syscall
    mov %rax, 56(%r12)
    cmp $-4095, %rax
    jb .Lmade
    testl $1, 4(%r12)
    jz .Lend
.Lmade:
    add $64, %r12
    jmp .Lnext
.Lend:
    mov %r14, %rdi
    mov %rbp, %rsi
    mov %ebx, %edx
    mov $234, %eax                      # tgkill
    syscall
    test %r15, %r15
    jz .Lend
faultline_agent_leave:
    mov $2, %edi                        # SIG_SETMASK
    lea .Lall(%rip), %rsi
    xor %edx, %edx
    mov $8, %r10d
    mov $14, %eax                       # rt_sigprocmask
    syscall
    mov %r15, %rsp
    mov $15, %eax                       # rt_sigreturn
    syscall
    hlt
    .balign 8
.Lall:
    .quad -1
faultline_agent_end:
    .section .note.GNU-stack, "", @progbits
