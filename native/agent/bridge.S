# The bridge: what stands in unused bytes of a task's vdso while its first thread has no agent yet. It makes one system
# call for the tracer, and whoever runs on from there untraced gets back to where the thread was. No policy; the tracer
# (src/task/bridge.ts) fills in the state, and sets stack pointer, flags and segments, which nothing here changes.
#
# The stack is not used, so that the red zone stays as it is and a signal handler that runs meanwhile finds a proper
# stack. Only instructions that leave the flags alone.
    .section .rodata
    .balign 16
    .globl faultline_bridge_start
    .hidden faultline_bridge_start
    .globl faultline_bridge_back
    .hidden faultline_bridge_back
    .globl faultline_bridge_state
    .hidden faultline_bridge_state
    .globl faultline_bridge_end
    .hidden faultline_bridge_end
faultline_bridge_start:
    syscall                             # the tracer's, with its registers
faultline_bridge_back:
    mov $2, %edi                        # SIG_SETMASK
    lea .Lmask(%rip), %rsi
    mov $0, %edx
    mov $8, %r10d
    mov $14, %eax                       # rt_sigprocmask
    syscall
    mov .Lregisters+0(%rip), %r15
    mov .Lregisters+8(%rip), %r14
    mov .Lregisters+16(%rip), %r13
    mov .Lregisters+24(%rip), %r12
    mov .Lregisters+32(%rip), %rbp
    mov .Lregisters+40(%rip), %rbx
    mov .Lregisters+48(%rip), %r11
    mov .Lregisters+56(%rip), %r10
    mov .Lregisters+64(%rip), %r9
    mov .Lregisters+72(%rip), %r8
    mov .Lregisters+80(%rip), %rax
    mov .Lregisters+88(%rip), %rcx
    mov .Lregisters+96(%rip), %rdx
    mov .Lregisters+104(%rip), %rsi
    mov .Lregisters+112(%rip), %rdi
    jmp *.Lip(%rip)
    .balign 8
faultline_bridge_state:
.Lmask:
    .quad 0
.Lregisters:
    .skip 120
.Lip:
    .quad 0
faultline_bridge_end:
    .section .note.GNU-stack, "", @progbits
